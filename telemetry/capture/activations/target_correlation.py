"""Whether a single input feature tells the target: its correlation with it over a batch."""

import torch
from torch import Tensor

from telemetry.capture.activations.statistics import FLOATING, MAX_PROFILE
from telemetry.capture.tensors.loss_graph import LossInputs

MIN_ROWS = 32  # of fewer, some feature correlates by chance
MAX_ROWS = 1024
MIN_DEVIATING = 8  # rows off the commonest target: fewer coincide with some rare feature by chance
MAX_CLASSES = 64  # whose indicators are looked at one by one
N_SAMPLES = 16  # sampled steps: a leak is one of the data and does not change


def is_table(values: Tensor) -> bool:
    """Rows of features, enough of them."""
    return (
        values.dim() == 2  # noqa: PLR2004 - rows and features
        and len(values) >= MIN_ROWS
        and values.shape[1] <= MAX_PROFILE
    )


def largest_correlation(features: Tensor, loss: LossInputs) -> Tensor | None:
    """Largest |Pearson correlation| of a feature with the target, a 0-d tensor.

    A target class is looked at as a number and as the indicator of each class. Features and targets
    that are constant correlate with nothing, nor do targets of which fewer than eight rows differ
    from the rest.

    Args:
        features: Shape (n_rows, n_features).
        loss: A loss of the same forward.

    Returns:
        None where the target has not one value per row.
    """
    target = loss.target
    if target is None or target.numel() != len(features) or target.device != features.device:
        return None
    target = target.detach().reshape(-1)[:MAX_ROWS]
    columns = target.to(torch.float32).unsqueeze(1)
    if target.dtype not in FLOATING and loss.class_dim is not None:
        n_classes = loss.scores.shape[loss.class_dim]
        if n_classes <= MAX_CLASSES:
            classes = torch.arange(n_classes, device=target.device)
            columns = torch.cat([columns, (target.unsqueeze(1) == classes).float()], dim=1)
    with torch.autocast(features.device.type, enabled=False):
        shares = _unit(features.detach()[:MAX_ROWS].to(torch.float32)).T @ _unit(columns)
    n_deviating = (columns != columns.median(0).values).sum(0)
    return (shares.abs() * (n_deviating >= MIN_DEVIATING)).amax()


def _unit(columns: Tensor) -> Tensor:
    centred = columns - columns.mean(0)
    return torch.nn.functional.normalize(centred, dim=0)
