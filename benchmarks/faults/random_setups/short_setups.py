"""Short trainings drawn at random: 30 to 250 steps, mostly small batches, 60 to 2,000 rows.

They have what `setups.py` lacks: losses written by hand, all dense optimizers of torch, loops in
the manner of Keras and Lightning. Seeds of the one say nothing about seeds of the other.
"""

import random
from collections.abc import Callable
from dataclasses import replace

import torch
from material import Data, Recurrent
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from random_setups.own_losses import INDEX_LOSSES, VALUE_LOSSES, YES_LOSSES, Loss
from random_setups.setups import Loop, Setup
from random_setups.tasks import TASKS, Task, network
from random_setups.unusual_tasks import MORE_TASKS

# Learning rates within which each optimizer usually trains small networks in so few steps.
RATES: dict[str, tuple[float, float]] = {
    "SGD": (-1.7, -0.7),
    "Momentum": (-2.3, -1.3),
    "Nesterov": (-2.3, -1.3),
    "ASGD": (-1.7, -0.7),
    "Adam": (-2.7, -2.0),
    "AdamW": (-2.7, -2.0),
    "AMSGrad": (-2.7, -2.0),
    "NAdam": (-2.7, -2.0),
    "RAdam": (-2.5, -1.7),
    "Adamax": (-2.5, -1.7),
    "Adagrad": (-2.0, -1.3),
    "Adadelta": (-0.3, 0.3),
    "RMSprop": (-3.0, -2.3),
    "Rprop": (-3.3, -2.3),
    "Adafactor": (-2.3, -1.5),
    "Muon": (-2.5, -1.5),
    "LBFGS": (-1.5, -0.5),
}
FULL_BATCH = {"Rprop", "LBFGS"}  # they are not made for the noise of small batches
SMALL, LARGER = (1, 2, 4, 8), (16, 32)
FEWEST_ROWS, MOST_ROWS = 60, 2000

Drawn = tuple[Task, nn.Module, str]


def _rows(choose: random.Random) -> int:
    return int(FEWEST_ROWS * (MOST_ROWS / FEWEST_ROWS) ** choose.random())


def _cut(x: Tensor, y: Tensor, n: int) -> Data:
    """So many rows to train with, the rest to validate."""
    return Data(x=x[:n], y=y[:n], val_x=x[n:], val_y=y[n:])


def _clouds(choose: random.Random, seed: int, classes: int) -> tuple[Data, int]:
    """Classes around two centres each, in a few features."""
    generator = torch.Generator().manual_seed(seed)
    features, n = choose.choice((4, 8, 20)), _rows(choose)
    centres = 2 * torch.randn(2 * classes, features, generator=generator)
    which = torch.randint(2 * classes, (n + 300,), generator=generator)
    x = centres[which] + torch.randn(n + 300, features, generator=generator)
    return _cut((x - x.mean(0)) / x.std(0), which % classes, n), features


def _named(loss: Loss) -> str:
    return loss.__name__


def _classes(choose: random.Random, seed: int) -> Drawn:
    classes = choose.choice((2, 3, 5))
    data, features = _clouds(choose, seed, classes)
    loss = choose.choice(INDEX_LOSSES)

    def score(out: Tensor, target: Tensor) -> float:
        return float((out.argmax(-1) == target).float().mean())

    learnt = 0.5 + 0.5 / classes if classes > 2 else 0.7
    model, what = network(choose, features, classes)
    task = Task(data=data, loss_of=loss, score=score, learnt=learnt, classes=True)
    return task, model, f"{len(data.x)} rows of {classes} {_named(loss)} {what}"


def _yes(choose: random.Random, seed: int) -> Drawn:
    data, features = _clouds(choose, seed, 2)
    data = replace(data, y=data.y[:, None].float(), val_y=data.val_y[:, None].float())
    loss = choose.choice(YES_LOSSES)

    def score(out: Tensor, target: Tensor) -> float:
        return float(((out > 0) == (target > 0.5)).float().mean())

    model, what = network(choose, features, 1)
    task = Task(data=data, loss_of=loss, score=score, learnt=0.7)
    return task, model, f"{len(data.x)} rows yes or no {_named(loss)} {what}"


def _value(choose: random.Random, seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    features, n = choose.choice((2, 6, 12)), _rows(choose)
    x = torch.randn(n + 300, features, generator=generator)
    y = torch.tanh(2 * x[:, :1]) + 0.5 * x[:, 1:2].abs()
    y = y + 0.1 * torch.randn(n + 300, 1, generator=generator)
    y = (y - y.mean()) / y.std()
    loss = choose.choice(VALUE_LOSSES)

    def score(out: Tensor, target: Tensor) -> float:
        return 1 - float(functional.mse_loss(out, target) / target.var())

    model, what = network(choose, features, 1)
    task = Task(data=_cut(x, y, n), loss_of=loss, score=score, learnt=0.4)
    return task, model, f"{n} rows value {_named(loss)} {what}"


def _sequence(choose: random.Random, seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    length, n = choose.choice((4, 6)), max(_rows(choose), 200)
    tokens = torch.randint(4, (n + 300, length), generator=generator)
    loss = choose.choice(INDEX_LOSSES)
    data = _cut(functional.one_hot(tokens, 4).float(), tokens[:, -2], n)

    def score(out: Tensor, target: Tensor) -> float:
        return float((out.argmax(-1) == target).float().mean())

    kind = choose.choice(("GRU", "LSTM", "RNN"))
    task = Task(data=data, loss_of=loss, score=score, learnt=0.5, classes=True)
    return task, Recurrent(kind, 4), f"{n} rows recall of {length} {kind} {_named(loss)}"


def _of_others(name: str) -> Callable[[random.Random, int], Drawn]:
    """A task of the longer set-ups."""

    def make(choose: random.Random, seed: int) -> Drawn:
        return {**TASKS, **MORE_TASKS}[name](choose, seed)

    return make


SHORT_TASKS: dict[str, Callable[[random.Random, int], Drawn]] = {
    "classes": _classes,
    "yes": _yes,
    "value": _value,
    "sequence": _sequence,
    "images": _of_others("images"),
    "text": _of_others("text"),
    "variational": _of_others("variational"),
    "views": _of_others("views"),
}
WEIGHTS = (4, 3, 4, 4, 1, 2, 2, 2)
NEED_LARGER = {"views", "variational", "text"}  # a batch of one has no negatives


def drawn_short(seed: int) -> Setup:
    """The short set-up of a seed."""
    choose = random.Random(f"short {seed}")  # noqa: S311 - no secret
    torch.manual_seed(seed)
    kind = choose.choices(tuple(SHORT_TASKS), WEIGHTS)[0]
    task, model, what = SHORT_TASKS[kind](choose, seed)
    rule = choose.choice(tuple(RATES))
    rate = 10 ** choose.uniform(*RATES[rule])
    small = choose.random() < 0.7 and kind not in NEED_LARGER and not _has_batch_norm(model)
    batch = choose.choice(SMALL if small else LARGER)
    if small and rule in {"SGD", "Momentum", "Nesterov", "ASGD"}:
        rate /= 3
    if rule in FULL_BATCH:
        batch = min(len(task.data.x), 128)
    steps = choose.choice((30, 60, 100, 150, 250))
    loop = Loop.LIGHTNING if rule == "LBFGS" else choose.choice(tuple(Loop))
    optimizer = _optimizer(rule, model, rate)
    schedule = choose.choice(("constant", "constant", "cosine", "step"))
    if rule in FULL_BATCH:
        schedule = "constant"
    return Setup(
        task=task,
        model=model,
        optimizer=optimizer,
        scheduler=_scheduler(schedule, optimizer, steps),
        batch=batch,
        accumulate=1,
        steps=steps,
        reduction="mean",
        clip=choose.choice(("no", "no", "no", "norm")) if rule != "LBFGS" else "no",
        autocast=False,
        words=f"{what} {rule} {rate:.1e} batch {batch} {schedule} {loop} {steps} steps",
        loop=loop,
    )


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())


def _optimizer(rule: str, model: nn.Module, rate: float) -> Optimizer:
    parameters = list(model.parameters())
    if rule == "Momentum":
        return torch.optim.SGD(parameters, rate, momentum=0.9)
    if rule == "Nesterov":
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True)
    if rule == "AMSGrad":
        return torch.optim.Adam(parameters, rate, amsgrad=True)
    if rule == "LBFGS":
        return torch.optim.LBFGS(parameters, rate, max_iter=4)
    if rule == "Muon":  # for matrices only
        for parameter in parameters:
            parameter.requires_grad_(parameter.ndim == 2)
        parameters = [parameter for parameter in parameters if parameter.ndim == 2]
    kind: Callable[..., Optimizer] = getattr(torch.optim, rule)
    return kind(parameters, lr=rate)


def _scheduler(name: str, optimizer: Optimizer, steps: int) -> LRScheduler | None:
    if name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return StepLR(optimizer, max(steps // 2, 1), 0.5) if name == "step" else None
