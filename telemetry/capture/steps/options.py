"""What the user asked to be recorded, checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from telemetry.capture.steps.probe_batch import ProbeBatch
from telemetry.finding import Finding

OnFinding: TypeAlias = Callable[[Finding], object] | Literal["warn", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is recorded, and what it may cost.

    `every` None lets the budget decide; `flight_recorder` is a number of steps, 0 for none;
    `total_steps` are planned, None if nobody knows.
    """

    every: int | None
    overhead_budget: float | None
    overhead_allowance_s: float
    histograms: bool
    activations: bool
    flight_recorder: int
    strict: bool
    total_steps: int | None = None
    probe: ProbeBatch | None = None
    on_finding: OnFinding | None = None
