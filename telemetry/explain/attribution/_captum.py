"""The only file that imports captum: its methods with the settings that were measured to work.

Its defaults are not used: Lasso shrinks small effects to nothing, 25 samples are too few, the
kernel is not local, and every pixel is a feature.
"""

from collections.abc import Callable

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    KernelShap,
    LayerIntegratedGradients,
    Lime,
)
from torch import Tensor, nn

Scorer = Callable[[Tensor], Tensor]  # inputs of shape (n, ...) to scores of shape (n,)

KERNEL_WIDTH = 0.25
RIDGE = 1.0


def integrated_gradients(
    score: Scorer,
    values: Tensor,
    baseline: Tensor,
    *,
    n_steps: int,
    batch: int,
    embedding: nn.Module | None,
) -> Tensor:
    """Integral of the gradient along the line from the baseline, of the input's shape.

    Args:
        score: What is explained.
        values: The input.
        baseline: Of the same shape.
        n_steps: Points of the line.
        batch: Points a forward.
        embedding: Where the line lies instead, for a text: its output, summed over its dimension.

    Source: Sundararajan, Taly and Yan 2017, arXiv:1703.01365.
    """
    method = (
        IntegratedGradients(score)
        if embedding is None
        else LayerIntegratedGradients(score, embedding)
    )
    found = method.attribute(
        values[None],
        baselines=baseline[None],
        n_steps=n_steps,
        method="gausslegendre",
        internal_batch_size=batch,
    )
    attributed: Tensor = found[0].detach()
    return attributed if embedding is None else attributed.sum(-1)


def ablation(worth: Scorer, n_segments: int, batch: int) -> Tensor:
    """How much the worth of all segments falls where one is left out; (n_segments,).

    Args:
        worth: Sets of kept segments, 0 and 1 of shape (n, n_segments), to scores of shape (n,).
        n_segments: How many there are.
        batch: Sets a call.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    found = FeatureAblation(worth).attribute(
        torch.ones(1, n_segments), perturbations_per_eval=batch
    )
    return _first(found)


def lime(worth: Scorer, n_segments: int, *, n_samples: int, batch: int) -> Tensor:
    """Coefficients of a ridge regression on sets of segments, near all of them; (n_segments,).

    Args:
        worth: As for `ablation`.
        n_segments: How many there are.
        n_samples: Sets that are drawn.
        batch: Sets a call.

    Source: Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938.
    """
    _need_sklearn()
    method = Lime(worth, interpretable_model=SkLearnRidge(alpha=RIDGE), similarity_func=_similarity)
    found = method.attribute(
        torch.ones(1, n_segments),
        n_samples=n_samples,
        perturbations_per_eval=batch,
        return_input_shape=False,
    )
    return _first(found)


def kernel_shap(worth: Scorer, n_segments: int, *, n_samples: int, batch: int) -> Tensor:
    """Shapley values of segments by weighted regression; arguments as for `lime`.

    Source: Lundberg and Lee 2017, arXiv:1705.07874.
    """
    _need_sklearn()
    found = KernelShap(worth).attribute(
        torch.ones(1, n_segments),
        n_samples=n_samples,
        perturbations_per_eval=batch,
        return_input_shape=False,
    )
    return _first(found)


def _need_sklearn() -> None:
    """Captum does not depend on it, and its own complaint is a ValueError.

    Raises:
        ModuleNotFoundError: it is not there.
    """
    import sklearn  # noqa: F401, PLC0415 - as said


def _first(found: Tensor) -> Tensor:
    only: Tensor = found[0].detach()
    return only


def _similarity(_original: Tensor, _perturbed: Tensor, kept: Tensor, **_: object) -> Tensor:
    """Weight of a sample by the cosine distance of its kept segments from all being kept."""
    share = kept.float().mean()
    distance = 1 - torch.sqrt(share)
    return torch.exp(-(distance**2) / KERNEL_WIDTH**2)
