"""Training set-ups drawn at random: what a user might train, not what a rule was made for."""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR, StepLR

from random_setups.tasks import TASKS, Task
from random_setups.unusual_tasks import MORE_TASKS

# Learning rates within which each optimizer usually trains small networks, by the decade.
RATES: dict[str, tuple[float, float]] = {
    "SGD": (-2.0, -0.7),
    "Momentum": (-2.5, -1.3),
    "Adam": (-3.3, -2.0),
    "AdamW": (-3.3, -2.0),
    "RMSprop": (-3.5, -2.5),
    "Adagrad": (-2.0, -1.0),
    "NAdam": (-3.3, -2.3),
    "RAdam": (-3.0, -2.0),
    "Adamax": (-3.0, -2.0),
}
BATCHES = (8, 16, 32, 64, 128, 256)


class Loop(StrEnum):
    """In whose manner the loop is written."""

    PLAIN = "plain"  # backward, step, zero_grad; evaluated each fifty steps
    KERAS = "keras"  # epochs of a fit, each evaluated with its metrics
    LIGHTNING = "lightning"  # a module around the network, and a closure for the optimizer's step


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One training, ready to run; `words` tells what was drawn."""

    task: Task
    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    batch: int
    accumulate: int
    steps: int
    reduction: str
    clip: str
    autocast: bool
    words: str
    loop: Loop = Loop.PLAIN
    shuffles: bool = True

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One for each forward."""
        steps = self.steps * self.accumulate
        if self.shuffles:
            yield from self.task.data.batches(generator, self.batch, steps)
            return
        x, y = self.task.data.x, self.task.data.y
        rows = itertools.cycle(torch.arange(len(x)).split(self.batch))
        for picked in itertools.islice(rows, steps):
            yield x[picked], y[picked]

    def precision(self) -> torch.autocast | nullcontext[None]:
        """Around each forward."""
        return torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext()


def drawn(seed: int) -> Setup:
    """The set-up of a seed."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    torch.manual_seed(seed)
    kinds = {**TASKS, **MORE_TASKS}
    kind = choose.choice(sorted(kinds))
    task, model, what = kinds[kind](choose, seed)
    rule = choose.choice(tuple(RATES))
    low, high = RATES[rule]
    rate = 10 ** choose.uniform(low, high)
    batch = min(choose.choice(BATCHES), len(task.data.x))
    reduction = choose.choice(("mean", "mean", "mean", "sum"))
    if reduction == "sum" and rule in {"SGD", "Momentum"}:
        rate /= batch * task.terms
    steps = choose.choice((150, 250, 400, 600))
    decay = choose.choice((0.0, 0.0, 1e-4, 1e-2))
    optimizer = _optimizer(rule, model, rate, decay)
    schedule = choose.choice(("constant", "constant", "cosine", "warm-up", "step", "one-cycle"))
    clip = choose.choice(("no", "no", "norm", "value"))
    accumulate = choose.choice((1, 1, 1, 2, 4))
    autocast = kind in {"flat", "images", "text"} and choose.random() < 0.15
    return Setup(
        task=task,
        model=model,
        optimizer=optimizer,
        scheduler=_scheduler(schedule, optimizer, rate, steps),
        batch=batch,
        accumulate=accumulate,
        steps=steps,
        reduction=reduction,
        clip=clip,
        autocast=autocast,
        words=f"{what} {rule} {rate:.1e} batch {batch} x{accumulate} {reduction} {schedule} "
        f"decay {decay:g} clip {clip}{' bf16' if autocast else ''} {steps} steps",
    )


def _optimizer(rule: str, model: nn.Module, rate: float, decay: float) -> Optimizer:
    parameters = model.parameters()
    if rule == "Momentum":
        return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay)
    kind: Callable[..., Optimizer] = getattr(torch.optim, rule)
    return kind(parameters, lr=rate, weight_decay=decay)


def _scheduler(name: str, optimizer: Optimizer, rate: float, steps: int) -> LRScheduler | None:
    if name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    if name == "warm-up":
        first = max(steps // 10, 1)
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / first))
    if name == "step":
        return StepLR(optimizer, steps // 3, 0.3)
    if name == "one-cycle":
        return OneCycleLR(optimizer, rate, total_steps=steps + 1, cycle_momentum=False)
    return None
