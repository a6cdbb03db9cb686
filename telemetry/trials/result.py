"""What trials say of a run: one verdict a remedy, in the order of their effect."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from telemetry.compare.curves.trends import NO_TREND, Trend
from telemetry.json_values import Json


class Outcome(StrEnum):
    """What an experiment has shown of a remedy.

    Attributes:
        CONFIRMED: The loss, or the evaluation that decides in its place, is better with it.
        WORSE: It is worse with it.
        REFUTED: It is the same within a margin.
        NO_EFFECT: None of these can be claimed from so few seeds and steps.
        UNCHANGED: The training is bit for bit that without it.
        NOT_APPLICABLE: There is nothing that it could change.
        NOT_JUDGED: It changes what the loss means, and nothing else was measured.
        FAILED: The script failed with it.
    """

    CONFIRMED = "confirmed"
    WORSE = "made worse"
    REFUTED = "refuted"
    NO_EFFECT = "no effect seen"
    UNCHANGED = "changes nothing"
    NOT_APPLICABLE = "does not apply"
    NOT_JUDGED = "not judged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One remedy against the unchanged control.

    Attributes:
        dose: The remedy, as `lr/8`.
        changes: What it changes, in words.
        treats: The finding of the run that it is a remedy for; None where it is for none of them.
        restores: It does what a training loop has to do; else it tunes a choice.
        outcome: What was shown.
        reason: Why, in a sentence.
        metric: What decided; '' where nothing was measured.
        step: Last step that was compared.
        n_seeds: Pairs of runs with equal seeds.
        n_better: Of those, how many the remedy made better.
        control: Mean of the metric without it.
        treated: The same with it.
        ci_low: Lower end of the 95 % interval of `treated`, given `control`.
        ci_high: Its upper end.
        p: One-sided, corrected after Holm for the number of remedies.
        detectable: Smallest relative change that would have been told in 80 % of trials.
        finding_gone: Whether the finding is gone with it; None where that cannot be said.
        new_findings: Detectors that find something with it alone.
        equal_steps: Steps that had to be equal to the control, and were.
        trend: The curves of both.
    """

    dose: str
    changes: str
    treats: str | None = None
    restores: bool = False
    outcome: Outcome
    reason: str
    metric: str = ""
    step: int | None = None
    n_seeds: int = 0
    n_better: int = 0
    control: float = math.nan
    treated: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    detectable: float = math.nan
    finding_gone: bool | None = None
    new_findings: tuple[str, ...] = ()
    equal_steps: int | None = None
    trend: Trend = NO_TREND

    @property
    def gain(self) -> float:
        """How far the metric has come down (or up, where that is better), relative to control."""
        if math.isnan(self.treated) and self.outcome is not Outcome.WORSE:
            return -math.inf
        if math.isnan(self.control):
            return math.inf
        change = abs(self.treated - self.control) / (abs(self.control) or 1.0)
        return -change if self.outcome is Outcome.WORSE else change

    @property
    def is_confirmed(self) -> bool:
        """Whether the remedy helps."""
        return self.outcome is Outcome.CONFIRMED

    @property
    def answers_finding(self) -> bool:
        """It is confirmed and undoes a finding of the run; else what it brings is a gain."""
        return answers_finding(self.outcome, self.treats, gone=self.finding_gone)

    def to_json(self) -> dict[str, Json]:
        """One entry of `try --json`."""
        fields = {
            **asdict(self),
            "new_findings": list(self.new_findings),
            "answers_finding": self.answers_finding,
        }
        return {
            name: (None if isinstance(value, float) and math.isnan(value) else value)
            for name, value in fields.items()
            if name != "trend"
        }


def answers_finding(outcome: str, treats: str | None, *, gone: bool | None) -> bool:
    """Whether a verdict speaks for the finding that a remedy is for.

    Args:
        outcome: The verdict.
        treats: The finding.
        gone: Whether it is gone with the remedy; None, where a replay is too short to show it,
            leaves the remedy its word.
    """
    return outcome == Outcome.CONFIRMED and treats is not None and gone is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What one command has shown.

    Attributes:
        tried: One a remedy, in the order of `order.in_order`.
        steps: Optimizer steps of each replay.
        seed_offsets: Of the pairs.
        first_difference: The first step at which the control is not the recorded run, bit for bit;
            None: it is.
        apart: Largest distance of the losses of two unchanged replays, relative to their size; None
            where the control is the recorded run.
        same_seeds: Further seeds that changed no loss: they are no further pairs.
        interrupted: Not everything was run.
        kept: Whether the verdicts could be stored with the run.
    """

    tried: tuple[Tried, ...]
    steps: int
    seed_offsets: tuple[int, ...]
    first_difference: int | None = None
    apart: float | None = None
    same_seeds: int = 0
    interrupted: bool = False
    kept: bool = True

    @property
    def is_replayed(self) -> bool:
        """The control is the recorded run, bit for bit."""
        return self.first_difference is None

    @property
    def is_confirmed(self) -> bool:
        """A remedy helps."""
        return any(one.is_confirmed for one in self.tried)

    def to_json(self) -> Mapping[str, Json]:
        """Body of `try --json`."""
        return {
            "tried": [one.to_json() for one in self.tried],
            "steps": self.steps,
            "seed_offsets": list(self.seed_offsets),
            "first_difference": self.first_difference,
            "apart": self.apart,
            "same_seeds": self.same_seeds,
            "interrupted": self.interrupted,
            "kept": self.kept,
        }
