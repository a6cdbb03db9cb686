"""A classifier of ten clusters in 32 dimensions; every argument is one difference from healthy."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
N_IN, N_CLASSES, WIDTH = 32, 10, 32


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    depth: int = 3,
    activation: str = "relu",
    weight_std: float | None = None,
    weight_value: float | None = None,
    bias_init: float | None = None,
    input_gain: float = 1.0,
    optimizer: str = "adam",
    lr: float = 3e-3,
    lr_jump: float = 1.0,
    steps: int = 150,
    left_out: Sequence[str] = (),
    detached: int | None = None,
    broken_batch: int | None = None,
    sign: float = 1.0,
    reduction: str = "mean",
    dtype: str = "float32",
    cleared: bool = True,
    cleared_late: bool = False,
    stepped_until: int | None = None,
    max_norm: float | None = None,
    weight_decay: float = 0.0,
    dropout: float = 0.0,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        depth: Linear layers.
        activation: relu, tanh or sigmoid.
        weight_std: Standard deviation of all weights; None is He initialisation.
        weight_value: The same value for all weights.
        bias_init: Bias of the hidden layers.
        input_gain: Factor on the inputs.
        optimizer: adam or sgd.
        lr: Learning rate.
        lr_jump: Factor on the rate from the 60th step on.
        steps: Optimizer steps.
        left_out: Layers whose parameters the optimizer is not given.
        detached: Place in the Sequential after which the graph is cut.
        broken_batch: Step whose batch holds a NaN.
        sign: Factor on the loss before backward.
        reduction: mean or sum.
        dtype: Of the weights; the loss is computed in float32.
        cleared: Whether gradients are cleared before each backward pass.
        cleared_late: Whether they are cleared between the backward pass and the optimizer's step.
        stepped_until: Step from which on the optimizer does not step.
        max_norm: Gradient norm to clip to.
        weight_decay: Of the optimizer.
        dropout: Share of the hidden units that each layer drops.
    """
    torch.manual_seed(seed)
    model = Model(depth, ACTIVATIONS[activation], detached, dropout)
    for index, layer in enumerate(m for m in model.net if isinstance(m, nn.Linear)):
        _start(layer, weight_std, weight_value, bias_init if index < depth - 1 else None)
    model.to(getattr(torch, dtype))
    parameters = [
        parameter
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in left_out
    ]
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    stepper = kind(parameters, lr, weight_decay=weight_decay)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)
    with record(model, stepper) as telemetry:
        for step in range(steps):
            if step == 60:
                stepper.param_groups[0]["lr"] = lr * lr_jump
            labels = torch.randint(N_CLASSES, (64,), generator=generator)
            inputs = centres[labels] + torch.randn(64, N_IN, generator=generator)
            inputs = input_gain * inputs
            if step == broken_batch:
                inputs[0, 0] = float("nan")
            out = model(inputs.to(getattr(torch, dtype))).float()
            loss = functional.cross_entropy(out, labels, reduction=reduction)
            if cleared:
                stepper.zero_grad()
            (sign * loss).backward()
            if max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            _end(
                stepper, cleared=cleared_late, stepped=stepped_until is None or step < stepped_until
            )
            telemetry.step(loss=loss)


class Model(nn.Module):
    """Linear layers with an activation between them, perhaps cut."""

    def __init__(
        self, depth: int, activation: type[nn.Module], detached: int | None, dropout: float
    ) -> None:
        super().__init__()
        widths = [N_IN, *[WIDTH] * (depth - 1), N_CLASSES]
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.net = nn.Sequential(*layers[: -2 if dropout else -1])
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        for place, layer in enumerate(self.net):
            x = layer(x)
            if place == self.detached:
                x = x.detach()
        return x


def _end(stepper: torch.optim.Optimizer, *, cleared: bool, stepped: bool) -> None:
    if cleared:
        stepper.zero_grad()
    if stepped:
        stepper.step()


def _start(layer: nn.Linear, std: float | None, value: float | None, bias: float | None) -> None:
    if value is not None:
        nn.init.constant_(layer.weight, value)
    elif std is not None:
        nn.init.normal_(layer.weight, 0.0, std)
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.constant_(layer.bias, 0.0 if bias is None else bias)
