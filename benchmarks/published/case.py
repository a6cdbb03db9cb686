"""What a published case is, how it is trained, and what counts as doing harm."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry import TelemetryCallback

POINTS = 0.05  # of a share: as in benchmarks/faults/claims.py
TIMES = 1.2  # of an error

Part = TypeVar("Part")
Value = float | Tensor


class Enough(Exception):  # noqa: N818 - no error: a run that was asked for a few steps
    """The run has done the steps that it was asked for."""


class Recorder(Protocol):
    """The part of `TelemetryCallback` that loops use."""

    def step(self, *, loss: Value | None = None, **metrics: Value) -> None:
        """A step is over."""

    def log(self, **metrics: Value) -> None:
        """Metrics of an evaluation."""

    def close(self) -> None:
        """The run is over."""


@dataclass(kw_only=True)
class Unrecorded:
    """Stands where the callback stands, and records nothing.

    Attributes:
        most_steps: Raises Enough after so many.
    """

    most_steps: int | None
    n_steps: int = 0

    def step(self, *, loss: Value | None = None, **metrics: Value) -> None:
        """Count it."""
        del loss, metrics
        self.n_steps += 1
        if self.n_steps == self.most_steps:
            raise Enough

    def log(self, **metrics: Value) -> None:
        """Forget them."""

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What a run reached: a share (more is better) or an error (less is better)."""

    share: float | None = None
    error: float | None = None

    def hurts(self, fixed: Self) -> bool:
        """Whether this run, with what was wrong, is clearly worse than the mended one."""
        if self.share is not None and fixed.share is not None:
            return fixed.share - self.share >= POINTS
        if self.error is None or fixed.error is None or not math.isfinite(fixed.error):
            return False
        return not math.isfinite(self.error) or self.error >= TIMES * fixed.error

    @property
    def words(self) -> str:
        """`share 0.95` or `error 1.2`."""
        if self.share is not None:
            return f"share {self.share:.3g}"
        return "nothing" if self.error is None else f"error {self.error:.3g}"


@dataclass(kw_only=True)
class Trial(AbstractContextManager["Trial"]):
    """One training of one case.

    Attributes:
        fixed: What was wrong has been mended.
        store: Where to record; None records nothing.
        most_steps: Ends a run that is not recorded after so many.
        seed: Of data and weights, which both versions share.
    """

    fixed: bool
    store: Path | None = None
    most_steps: int | None = None
    seed: int = 1
    generator: torch.Generator = field(default_factory=torch.Generator)
    _recorders: list[Recorder] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Seed everything that draws."""
        torch.manual_seed(self.seed)
        self.generator.manual_seed(self.seed)

    def pick(self, wrong: Part, *, fixed: Part) -> Part:
        """The part that is wrong, or what stands in its place once it is mended."""
        return fixed if self.fixed else wrong

    def record(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None,
        *,
        tags: Sequence[str] = (),
    ) -> Recorder:
        """A callback as a user makes it: default settings, and `gan` and `rl` where docs ask."""
        recorder: Recorder = (
            Unrecorded(most_steps=self.most_steps)
            if self.store is None
            else TelemetryCallback(model, optimizer, store=self.store, tags=tags)
        )
        self._recorders.append(recorder)
        return recorder

    def __exit__(self, *_: object) -> None:
        """Close what was recorded."""
        for recorder in self._recorders:
            recorder.close()


Build = Callable[[Trial], Reached]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One published bug.

    Attributes:
        name: Of the case; its answer is under it in accepted.toml.
        source: Address of the thread, or the collection and the number in it.
        wrong: What was wrong.
        mended: What mended it.
        ported: What differs from the source.
        build: Trains once.
    """

    name: str
    source: str
    wrong: str
    mended: str
    ported: str
    build: Build

    def train(self, trial: Trial) -> Reached | None:
        """Train; None if the run was ended early."""
        with trial:
            try:
                return self.build(trial)
            except Enough:
                return None


CASES: dict[str, Case] = {}


def case(
    name: str, *, source: str, wrong: str, mended: str, ported: str = "as it is"
) -> Callable[[Build], Build]:
    """Register a case under its name."""

    def register(build: Build) -> Build:
        CASES[name] = Case(
            name=name, source=source, wrong=wrong, mended=mended, ported=ported, build=build
        )
        return build

    return register
