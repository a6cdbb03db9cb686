"""What a diagnosis said of both versions of a case, held against its answer."""

from dataclasses import dataclass

from published.answers import Answer
from published.case import Reached

INFORMATION = "info"
SYMPTOM = "loss_not_decreasing"  # true of most runs that go wrong, and no cause


@dataclass(frozen=True, kw_only=True)
class Told:
    """One finding: its detector, how serious it is, and what it is said to follow from."""

    detector: str
    severity: str
    consequence_of: str | None

    @property
    def counts(self) -> bool:
        """A warning or an error."""
        return self.severity != INFORMATION

    @property
    def words(self) -> str:
        """`W:dead_units<learning_rate_too_high`."""
        letter = self.severity[0].upper() if self.counts else "i"
        return f"{letter}:{self.detector}{f'<{self.consequence_of}' if self.consequence_of else ''}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Both versions of one case."""

    name: str
    wrong: Reached
    fixed: Reached
    told_of_wrong: tuple[Told, ...] = ()
    told_of_fixed: tuple[Told, ...] = ()
    seconds: float = 0.0

    @property
    def hurts(self) -> bool:
        """The mended version is clearly better."""
        return self.wrong.hurts(self.fixed)


def found(outcome: Outcome, answer: Answer) -> bool:
    """An accepted detector warns of the wrong version."""
    return any(told.counts and told.detector in answer.accepted for told in outcome.told_of_wrong)


def verdict(outcome: Outcome, answer: Answer) -> str:
    """`found`, or what is told instead."""
    if found(outcome, answer):
        return "found"
    if any(told.detector in answer.accepted for told in outcome.told_of_wrong):
        return "information"
    counted = {told.detector for told in outcome.told_of_wrong if told.counts}
    if not counted:
        return "silent"
    return "symptom" if counted == {SYMPTOM} else "something else"


def alarms(outcome: Outcome, answer: Answer) -> tuple[Told, ...]:
    """Warnings of the mended version that are not known to be right."""
    known = {*answer.remains}
    return tuple(t for t in outcome.told_of_fixed if t.counts and t.detector not in known)
