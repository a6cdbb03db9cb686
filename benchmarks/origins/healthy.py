"""Trainings in which nothing is wrong, though values that are not finite may come and go."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from cases import BAD_STEP, INF, NAN, SAMPLED, UNSAMPLED, Loop, in_gradient, in_input, spot
from models import ARCHITECTURES, Architecture
from torch import Tensor
from torch.nn import functional

from telemetry import TelemetryCallback

N_STEPS = 12
Report = Callable[[Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """One training without a fault.

    Attributes:
        id: Architecture and what is special.
        architecture: Key of `ARCHITECTURES`.
        train: Runs the loop.
        optimizer: Makes it.
        every: Cadence of the samples.
    """

    id: str
    architecture: str
    train: Callable[[Loop, Architecture, TelemetryCallback], None]
    optimizer: Callable[..., torch.optim.Optimizer]
    every: int


def _batches(
    loop: Loop, architecture: Architecture, n_steps: int = N_STEPS
) -> Iterator[tuple[int, Tensor]]:
    """Step and labels; the inputs are those of the loop."""
    generator = torch.Generator().manual_seed(1)
    for step in range(n_steps):
        loop.inputs, labels = architecture.batch(generator)
        yield step, labels


def _step(loop: Loop, loss: Tensor, telemetry: TelemetryCallback) -> None:
    loop.optimizer.zero_grad()
    loss.backward()
    loop.optimizer.step()
    telemetry.step(loss=loss)


def plain(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """Clipped, and checked by an optimizer that may see gradients of zero."""
    for _, labels in _batches(loop, architecture):
        loss = functional.cross_entropy(loop.model(*loop.inputs), labels)
        loop.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(loop.model.parameters(), 0.1)
        loop.optimizer.step()
        telemetry.step(loss=loss)


def healed(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """A module makes infinities and takes them away again."""

    def operation(values: Tensor) -> Tensor:
        logs = torch.log(values.detach().clamp(min=0))
        return values + 0.1 * torch.nan_to_num(logs, neginf=0.0)

    for path, module in loop.model.named_modules():
        if type(module).__name__ == "Spot":
            spot(path, operation)(loop)
    for _, labels in _batches(loop, architecture):
        _step(loop, functional.cross_entropy(loop.model(*loop.inputs), labels), telemetry)


def scaled(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """Overflows that a loss scaler finds, and skips."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=3)
    name = next(name for name, _ in loop.model.named_parameters())
    for step, labels in _batches(loop, architecture, 24):
        loss = functional.cross_entropy(loop.model(*loop.inputs), labels)
        loop.optimizer.zero_grad()
        scaler.scale(loss).backward()
        if step == BAD_STEP:
            in_gradient(name, INF)(loop)
        scaler.step(loop.optimizer)
        scaler.update()
        telemetry.step(loss=loss)


def evaluated(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """An evaluation in between that is not finite."""
    for step, labels in _batches(loop, architecture):
        _step(loop, functional.cross_entropy(loop.model(*loop.inputs), labels), telemetry)
        if step == BAD_STEP:
            in_input(architecture.floats, NAN)(loop)
            with torch.no_grad():
                loss = functional.cross_entropy(loop.model.eval()(*loop.inputs), labels)
            telemetry.log(val_loss=loss, val_accuracy=INF)
            loop.model.train()


def large(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """Gradients whose squares are too large for float32."""
    for group in loop.optimizer.param_groups:
        group["lr"] = 1e-30
    for _, labels in _batches(loop, architecture):
        loss = 1e27 * functional.cross_entropy(loop.model(*loop.inputs), labels)
        _step(loop, loss, telemetry)


def dropped(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """The loop itself looks at the loss, and drops the batch."""
    for step, labels in _batches(loop, architecture):
        if step == BAD_STEP:
            in_input(architecture.floats, NAN)(loop)
        is_trained = loop.model.training
        loss = functional.cross_entropy(loop.model.train(step != BAD_STEP)(*loop.inputs), labels)
        loop.model.train(is_trained)
        if torch.isfinite(loss):
            _step(loop, loss, telemetry)


def accumulated(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """Two micro-batches a step, and gradients cleared after it."""
    for step, labels in _batches(loop, architecture, 2 * N_STEPS):
        loss = functional.cross_entropy(loop.model(*loop.inputs), labels) / 2
        loss.backward()
        if step % 2:
            loop.optimizer.step()
            loop.optimizer.zero_grad(set_to_none=False)
        telemetry.step(loss=loss)


def masked(loop: Loop, architecture: Architecture, telemetry: TelemetryCallback) -> None:
    """Logits of a class that is not allowed, and targets that are not there."""
    for _, labels in _batches(loop, architecture):
        forbidden = torch.tensor([False, False, False, True])
        logits = loop.model(*loop.inputs).masked_fill(forbidden, -INF)
        target = torch.where(labels > 1, NAN, logits.detach()[:, 0] + 1)
        there = ~target.isnan()
        loss = functional.cross_entropy(logits, labels.clamp(max=2))
        loss = loss + functional.mse_loss(logits[:, 0][there], target[there])
        _step(loop, loss, telemetry)


KINDS = (plain, healed, scaled, evaluated, large, dropped, accumulated, masked)
OPTIMIZERS = (
    partial(torch.optim.AdamW, lr=1e-3),
    partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    partial(torch.optim.RMSprop, lr=1e-3),
)

HEALTHY = tuple(
    Healthy(
        id=f"{architecture} {kind.__name__}",
        architecture=architecture,
        train=kind,
        optimizer=torch.optim.SGD if kind is large else OPTIMIZERS[(i + k) % len(OPTIMIZERS)],
        every=(SAMPLED, UNSAMPLED, 1)[(i + 2 * k) % 3],
    )
    for i, architecture in enumerate(ARCHITECTURES)
    for k, kind in enumerate(KINDS)
)
