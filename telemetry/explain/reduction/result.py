"""The least difference between a wrong answer and a right one, and how it is searched."""

from dataclasses import dataclass
from typing import ClassVar

from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.origin import Origin
from telemetry.explain.reduction.ddmin import Items, Least
from telemetry.explain.reduction.differences import Differences
from telemetry.explain.reduction.twins import Twin
from telemetry.explain.results.check import Check
from telemetry.explain.results.result import Result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduction(Result):
    """The least difference between a wrong and a right answer.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        wrong: The example that is answered wrongly.
        file: Name of the file that it lies in; None: an example of the data set.
        twin: The input that it is mixed with.
        label: The true class.
        prediction: The wrong answer.
        differences: Between both.
        repair: Least set that, taken from the twin, makes it right; None: not asked.
        breaking: Least set that, put into the twin, makes that wrong; None: not asked.
        region: Where the cause lies; for rows and texts the repair.
        p_before: Probability of the true class; a regression has none.
        p_after: The same with the repair.
        checks: What it was held against.
        calls: Mixtures that were asked about.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        tolerance: Largest error that is still right; None: of a classifier.
    """

    KIND: ClassVar[str] = "reduce"

    id: str
    origin: Origin
    wrong: Example
    file: str | None
    twin: Twin
    label: str
    prediction: str
    differences: Differences
    repair: Least | None
    breaking: Least | None
    region: Items
    p_before: float | None
    p_after: float | None
    checks: tuple[Check, ...]
    calls: int
    forwards: int
    seconds: float
    tolerance: float | None

    @property
    def name(self) -> str:
        """What the wrong input is called in a sentence."""
        return self.file or f"example {self.wrong.id}"
