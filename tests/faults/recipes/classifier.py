"""A classifier of ten clusters; the differences lie around its loss and its optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH = 32, 10, 32
LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "nll_loss": functional.nll_loss,
}


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    softmax: bool = False,
    loss: str = "cross_entropy",
    class_weight: float = 1.0,
    spread: float = 1.0,
    lr: float = 3e-3,
    eps: float = 1e-8,
    factor: float = 1.0,
    max_norm: float | None = None,
    state_at: int | None = None,
    state_factor: float | None = None,
    optimizer: str = "adam",
    weight_penalty: float = 0.0,
    steps: int = 150,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        softmax: The model ends with one.
        loss: cross_entropy or nll_loss.
        class_weight: Weight of class 0 in the loss; the others have 1.
        spread: Distance of the clusters.
        lr: Learning rate.
        eps: Epsilon of Adam.
        factor: What the loss is multiplied by.
        max_norm: Gradient norm to clip to.
        state_at: Step before which the optimizer's state is changed.
        state_factor: What its second moments are multiplied by then; None forgets all of it.
        optimizer: adam or sgd.
        weight_penalty: Added to the gradient's loss for each squared weight; a negative one, a sign
            error, rewards weights that grow.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    layers = [nn.Linear(N_IN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, N_CLASSES)]
    model = nn.Sequential(*layers, nn.Softmax(-1)) if softmax else nn.Sequential(*layers)
    stepper: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr, eps=eps)
    if optimizer == "sgd":
        stepper = torch.optim.SGD(model.parameters(), lr)
    generator = torch.Generator().manual_seed(seed)
    centres = spread * torch.randn(N_CLASSES, N_IN, generator=generator)
    weight = torch.tensor([class_weight] + [1.0] * (N_CLASSES - 1))
    with record(model, stepper) as telemetry:
        for step in range(steps):
            if step == state_at:
                _change_state(stepper, state_factor)
            labels = torch.randint(N_CLASSES, (64,), generator=generator)
            inputs = centres[labels] + torch.randn(64, N_IN, generator=generator)
            value = factor * LOSSES[loss](model(inputs), labels, weight=weight)
            penalty = weight_penalty * sum(p.square().sum() for p in model.parameters())
            stepper.zero_grad()
            (value + penalty).backward()
            if max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            stepper.step()
            telemetry.step(loss=value)


def _change_state(optimizer: torch.optim.Optimizer, factor: float | None) -> None:
    if factor is None:
        optimizer.state.clear()
    for state in optimizer.state.values():
        state["exp_avg_sq"].mul_(factor)
