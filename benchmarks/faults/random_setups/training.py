"""The loop of the random set-ups: a training whose parts a fault may exchange while it runs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from random_setups.setups import Loop, Setup
from telemetry import TelemetryCallback

EVALUATE_EVERY = 50
Options = dict[str, object]


def _same(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y


def _plain(loss: Tensor) -> Tensor:
    return loss


@dataclass(kw_only=True)
class Running:
    """A training on its way; a fault replaces some of it.

    Attributes:
        batch_of: Of each batch, what the model is given.
        minimised: Of the loss, what is differentiated.
        outputs: Of the model's outputs, what the loss is given.
        clears: Gradients are cleared after a step.
        trains_again: The model is put back into training after an evaluation.
        divides: The loss of accumulated batches is divided by their number.
        evaluates_in_eval: The model is put into eval mode for an evaluation.
        layers: Where a fault was planted, if that is one place.
        val_losses: Of all evaluations.
    """

    setup: Setup
    optimizer: Optimizer
    scheduler: LRScheduler | None
    step: int = 0
    batch_of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = _same
    minimised: Callable[[Tensor], Tensor] = _plain
    outputs: Callable[[Tensor], Tensor] = _plain
    clears: bool = True
    trains_again: bool = True
    divides: bool = True
    evaluates_in_eval: bool = True
    layers: tuple[str, ...] = ()
    val_losses: list[float] = field(default_factory=list)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.setup.model


Plant = Callable[[Running], None]


class Module(nn.Module):
    """What Lightning makes of a network: a module that holds it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the network."""
        out: Tensor = self.network(x)
        return out


def trained(
    setup: Setup,
    store: Path,
    seed: int,
    *,
    plant: Plant | None = None,
    at: int = 0,
    options: Options | None = None,
) -> tuple[float, Running]:
    """Train and record; returns the score at the end and the training as it ended.

    Args:
        setup: What to train.
        store: Where to record.
        seed: Of the order of the data, and of dropout.
        plant: The fault, planted before the step `at`; at 0 before recording begins.
        at: Step of the fault.
        options: Of the callback.
    """
    torch.manual_seed(seed + 1)
    running = Running(setup=setup, optimizer=setup.optimizer, scheduler=setup.scheduler)
    if plant is not None and at == 0:
        plant(running)
    score = 0.0
    arguments = {"store": store, **(options or {})}
    recorded = Module(setup.model) if setup.loop is Loop.LIGHTNING else setup.model
    with TelemetryCallback(recorded, running.optimizer, **arguments) as telemetry:  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(seed)
        for index, (x, y) in enumerate(running.setup.batches(generator)):
            running.step, micro = divmod(index, setup.accumulate)
            if plant is not None and at and running.step == at and micro == 0:
                plant(running)
            if setup.loop is Loop.LIGHTNING:
                loss = _closed_step(running, recorded, x, y)
            else:
                loss = _forward_backward(running, recorded, x, y)
                if micro + 1 < setup.accumulate:
                    telemetry.step(loss=loss)
                    continue
                _update(running)
            telemetry.step(loss=loss)
            done = running.step + 1
            if done % _evaluate_every(running) == 0 or done == setup.steps:
                score, val_loss = _evaluated(running)
                running.val_losses.append(val_loss)
                telemetry.log(val_loss=val_loss, val_score=score)
    return score, running


def _evaluate_every(running: Running) -> int:
    """Steps between two evaluations: fifty, or an epoch, but at most eight of those."""
    setup = running.setup
    if setup.loop is Loop.PLAIN:
        return EVALUATE_EVERY
    epoch = max(len(setup.task.data.x) // setup.batch, 1)
    return max(epoch, setup.steps // 8)


def _closed_step(running: Running, recorded: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Clear, forward and backward within the optimizer's step, as often as it asks."""
    losses: list[Tensor] = []

    def closure() -> float:
        if running.clears:
            running.optimizer.zero_grad()
        losses.append(_forward_backward(running, recorded, x, y))
        if running.setup.clip == "norm":
            nn.utils.clip_grad_norm_(recorded.parameters(), 1.0)
        return float(losses[-1].detach())

    running.optimizer.step(closure)
    if running.scheduler is not None:
        _advance(running)
    return losses[0]


def _forward_backward(running: Running, recorded: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The loss that the user believes in; gradients are added up."""
    setup = running.setup
    x, y = running.batch_of(x, y)
    with setup.precision():
        out = running.outputs(recorded(x).float())
        loss = setup.task.loss_of(out, y, setup.reduction)
    share = setup.accumulate if running.divides else 1
    (running.minimised(loss) / share).backward()
    return loss


def _update(running: Running) -> None:
    setup = running.setup
    if setup.clip == "norm":
        nn.utils.clip_grad_norm_(setup.model.parameters(), 1.0)
    elif setup.clip == "value":
        nn.utils.clip_grad_value_(setup.model.parameters(), 0.5)
    running.optimizer.step()
    if running.clears:
        running.optimizer.zero_grad()
    if running.scheduler is not None:
        _advance(running)


def _advance(running: Running) -> None:
    """The schedule's next step; one that watches a value is given the last validation loss."""
    if isinstance(running.scheduler, ReduceLROnPlateau):
        if running.val_losses and running.step % _evaluate_every(running) == 0:
            running.scheduler.step(running.val_losses[-1])
    elif running.scheduler is not None:
        running.scheduler.step()


def _evaluated(running: Running) -> tuple[float, float]:
    """Score and loss on the validation set as it should be, whatever the fault does to training."""
    setup = running.setup
    setup.model.train(not running.evaluates_in_eval)
    with torch.no_grad():
        out = running.outputs(setup.model(setup.task.data.val_x).float())
        score = setup.task.score(out, setup.task.data.val_y)
        val_loss = float(setup.task.loss_of(out, setup.task.data.val_y, "mean"))
    if running.trains_again:
        setup.model.train()
    return (score if math.isfinite(score) else -math.inf), val_loss
