"""How severe a finding is: one table of size, certainty and harm, and nothing else.

A rule says how far its number lies beyond its limit and from what kind of evidence it knows that;
what the run fails to reach is graded once (`telemetry.diagnose.judgement.harm`). An exact fact
counts whether the run learns or not; only statistics are softened by a run that does well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from telemetry.diagnose.judgement.harm import Harm
from telemetry.finding import Severity


class Certainty(StrEnum):
    """From what kind of evidence a rule knows."""

    EXACT = "exact"  # equal, zero, missing: there is no noise in it
    MEASURED = "measured"  # a quantity of this run that harms by itself, such as time or a jump
    STATISTICAL = "statistical"  # a margin between healthy and faulty runs

    @property
    def rank(self) -> int:
        """0 for the surest."""
        return list(Certainty).index(self)


class Size(IntEnum):
    """How far a number lies beyond its limit."""

    SLIGHT = 0  # worth telling, and no more
    CLEAR = 1  # beyond the limit
    FAR = 2  # beyond anything that a healthy run was ever seen to show
    TOTAL = 3  # nothing can be learned, or nothing is left, where it is so


E, W, I = Severity.ERROR, Severity.WARNING, Severity.INFO  # noqa: E741 - a table is read by columns
_COLUMNS = (Harm.BROKEN, Harm.FAILS, Harm.LITTLE, Harm.NONE, Harm.UNKNOWN, Harm.UNMEASURED)
_ROWS = {
    # the run:               is broken, fails, learns little, learns, may fail, is not measured
    (Certainty.EXACT, Size.SLIGHT): (W, W, I, I, I, I),
    (Certainty.EXACT, Size.CLEAR): (W, W, W, W, W, W),
    (Certainty.EXACT, Size.FAR): (E, E, W, W, W, W),
    (Certainty.EXACT, Size.TOTAL): (E, E, E, E, E, E),
    (Certainty.MEASURED, Size.SLIGHT): (I, I, I, I, I, I),
    (Certainty.MEASURED, Size.CLEAR): (W, W, W, W, W, W),
    (Certainty.MEASURED, Size.FAR): (E, E, W, W, W, W),
    (Certainty.MEASURED, Size.TOTAL): (E, E, E, E, E, E),
    (Certainty.STATISTICAL, Size.SLIGHT): (I, I, I, I, I, I),
    (Certainty.STATISTICAL, Size.CLEAR): (W, W, W, I, I, I),
    (Certainty.STATISTICAL, Size.FAR): (W, W, W, W, W, I),
    (Certainty.STATISTICAL, Size.TOTAL): (E, E, W, W, W, I),
}
TABLE: Mapping[tuple[Certainty, Size, Harm], Severity] = MappingProxyType(
    {
        (certainty, size, harm): severity
        for (certainty, size), row in _ROWS.items()
        for harm, severity in zip(_COLUMNS, row, strict=True)
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How sure and how large a finding is; what a rule says in place of a severity.

    Attributes:
        certainty: From what kind of evidence it is known.
        size: How far the value lies beyond its limit.
        meant: A tag or the configuration of the run says that it is wanted: then it is information.
    """

    certainty: Certainty
    size: Size
    meant: bool = False

    def severity(self, harm: Harm) -> Severity:
        """In a run that fails to reach so much."""
        return Severity.INFO if self.meant else TABLE[self.certainty, self.size, harm]


def exact(size: Size = Size.CLEAR, *, meant: bool = False) -> Strength:
    """An exact fact."""
    return Strength(certainty=Certainty.EXACT, size=size, meant=meant)


def measured(size: Size = Size.CLEAR, *, meant: bool = False) -> Strength:
    """A quantity that harms by itself."""
    return Strength(certainty=Certainty.MEASURED, size=size, meant=meant)


def statistical(size: Size = Size.CLEAR) -> Strength:
    """A number beyond the margin between healthy and faulty runs."""
    return Strength(certainty=Certainty.STATISTICAL, size=size)
