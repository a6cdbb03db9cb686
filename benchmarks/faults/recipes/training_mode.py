"""Training and evaluation mode, wrong and right."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, ConvNet, digits, mlp
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam


class Dropped(ConvNet):
    """BatchNorm, and dropout before the head."""

    def __init__(self) -> None:
        super().__init__(norm=True)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.drop(self.features(x)))


def _evaluated(  # noqa: PLR0913 - the differences
    bench: Bench,
    model: nn.Module,
    *,
    before: Callable[[nn.Module], object],
    after: Callable[[nn.Module], object],
    size: int = 397,
    steps: int = 300,
    images: bool = True,
    metric: str = "val_accuracy",
) -> None:
    data = digits(images=images)
    optimizer = SGD(model.parameters(), 0.05) if images else Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for step, (x, y) in enumerate(data.batches(bench.generator(), 64, steps), 1):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % 20 == 0:
                before(model)
                with torch.no_grad():
                    parts = [model(part).argmax(-1) for part in data.val_x.split(size)]
                after(model)
                bench.result["seen"] = float((torch.cat(parts) == data.val_y).float().mean())
                telemetry.log(**{metric: bench.result["seen"]})
    bench.score(model, data)


def _nothing(model: nn.Module) -> None:
    del model


@fault("F37", "train_eval_mode", by=60)
def never_back(bench: Bench) -> None:
    """model.train() is missing after the evaluation."""
    _evaluated(
        bench,
        Dropped(),
        before=nn.Module.eval,
        after=bench.fault(_nothing, without=nn.Module.train),
        steps=600,
    )


@fault("F38", "train_eval_mode", by=60, measure="seen")
def evaluated_in_training_mode(bench: Bench) -> None:
    before = bench.fault(_nothing, without=nn.Module.eval)
    after = bench.fault(_nothing, without=nn.Module.train)
    _evaluated(bench, ConvNet(norm=True), before=before, after=after, size=4)


@fault("F38b", "train_eval_mode", by=60, measure="seen")
def dropout_in_evaluation(bench: Bench) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    before = bench.fault(_nothing, without=nn.Module.eval)
    after = bench.fault(_nothing, without=nn.Module.train)
    _evaluated(bench, model, before=before, after=after, images=False)


@healthy("W10")
def back_and_forth(bench: Bench) -> None:
    _evaluated(bench, Dropped(), before=nn.Module.eval, after=nn.Module.train)


@healthy("W11")
def without_modes(bench: Bench) -> None:
    """Never switched, and nothing to be switched."""
    _evaluated(bench, mlp((64, 64, 10)), before=_nothing, after=_nothing, images=False)


@healthy("W12")
def rollouts(bench: Bench) -> None:
    """Forwards without gradient in training mode whose result is logged, as of a roll-out."""
    _evaluated(
        bench, ConvNet(norm=True), before=_nothing, after=_nothing, metric="return_of_rollout"
    )


@healthy("W13")
def frozen_norms(bench: Bench) -> None:
    """BatchNorm stays in evaluation mode after the first evaluation, the rest goes back."""

    def after(model: nn.Module) -> None:
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    _evaluated(bench, Dropped(), before=nn.Module.eval, after=after)
