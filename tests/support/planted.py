"""A training in which one step is spoiled, and what the run says of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from loops import mlp, records, vectors
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

N_STEPS = 6
BAD_STEP = 3
NAN = float("nan")


class Planted:
    """A training in which something is done before the forward, or after the backward, of a step.

    Args:
        build: Makes the model.
        before: Told model, optimizer and inputs in `BAD_STEP`, before the forward.
        after: Told model and optimizer in `BAD_STEP`, before the optimizer steps.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module] = mlp,
        *,
        before: Callable[..., object] = lambda *_: None,
        after: Callable[..., object] = lambda *_: None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        batch: Callable[[torch.Generator], tuple[Tensor, Tensor]] = vectors,
        **settings: Any,  # noqa: ANN401 - of the optimizer
    ) -> None:
        torch.manual_seed(0)
        self.model = build()
        self.optimizer = optimizer(self.model.parameters(), **({"lr": 1e-2} | settings))
        self._before, self._after, self._batch = before, after, batch

    def steps(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        for step in range(N_STEPS):
            inputs, labels = self._batch(generator)
            if step == BAD_STEP:
                self._before(self.model, self.optimizer, inputs)
            loss = functional.cross_entropy(self.model(inputs), labels)
            self.optimizer.zero_grad()
            loss.backward()
            if step == BAD_STEP:
                self._after(self.model, self.optimizer)
            self.optimizer.step()
            yield loss


def events(run: Path, kind: str = "non_finite") -> list[dict[str, Any]]:
    found = [row for row in records(run, "events") if row["kind"] == kind]
    return [{**row, **json.loads(str(row["payload"]))} for row in found]


def found(training: Planted, store: Path, every: int = 100) -> dict[str, Any]:
    """The event of the run; there must be one."""
    with TelemetryCallback(
        training.model, training.optimizer, store=store, every=every, strict=True
    ) as telemetry:
        for loss in training.steps():
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    (event,) = events(telemetry.path)
    return event
