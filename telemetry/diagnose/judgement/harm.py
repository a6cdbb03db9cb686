"""What a run fails to reach, graded once for all rules.

The measure is the share of what there was to gain over the best constant answer: 0 for a network
that answers alike whatever it reads, 1 for a loss of nothing. It is taken of the training loss and
of evaluations, as far as they are known; an accuracy is held against the share of the commonest
class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from telemetry.diagnose.judgement.evaluations import Evaluated
from telemetry.diagnose.judgement.progress import (
    COMES_DOWN,
    NO_FURTHER,
    Baseline,
    Progress,
    State,
)
from telemetry.diagnose.judgement.robust import median

NOTHING_SHARE = 0.02  # of what there was to gain: within what a constant answer reaches by chance
LITTLE_SHARE = 0.2
MIN_STEPS = 100  # before, a run that has gained nothing is short and not wrong
LAST_EVALUATIONS = 3
SAME_UNIT = 3.0  # an evaluated mean is another one than a sum over a batch
ACCURACY_WORDS = ("acc", "accuracy", "top1", "correct")


class Harm(StrEnum):
    """How much of what there was to gain a run has missed."""

    BROKEN = "broken"  # the loss is lost, or far above that of knowing nothing
    FAILS = "fails"  # nothing was gained
    LITTLE = "little"  # little was gained, and the loss no longer falls
    NONE = "none"  # the run learns
    UNKNOWN = "unknown"  # too noisy or too short to tell
    UNMEASURED = "unmeasured"  # the loss does not tell progress at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a run came.

    Attributes:
        harm: The grade.
        gained: Share of what there was to gain over the best constant answer, on training data;
            NaN where the level is not known.
        evaluated: The same of the evaluation that says it best.
    """

    harm: Harm
    gained: float = math.nan
    evaluated: float = math.nan

    @property
    def fails(self) -> bool:
        """The run demonstrably gained nothing."""
        return self.harm in {Harm.BROKEN, Harm.FAILS}


def reach(
    progress: Progress,
    levels: Baseline,
    evaluations: Sequence[Evaluated],
    *,
    first_loss: float,
    n_steps: int,
    ended: bool,
) -> Reach:
    """Grade a run.

    Args:
        progress: Of the training loss.
        levels: It is compared with.
        evaluations: Evaluated quantities, turned so that lower is better.
        first_loss: In whose unit evaluated losses may be.
        n_steps: Optimizer steps.
        ended: Nothing more will be trained.
    """
    level = levels.constant or levels.naive or math.nan
    gained = 1 - progress.end / level if level > 0 else math.nan
    shares = [_evaluated_share(each, levels, first_loss, level) for each in evaluations]
    best = max((share for share in shares if not math.isnan(share)), default=math.nan)
    harm = _harm(progress, gained, best, n_steps=n_steps, ended=ended)
    return Reach(harm=harm, gained=gained, evaluated=best)


def _harm(progress: Progress, gained: float, best: float, *, n_steps: int, ended: bool) -> Harm:
    if not progress.measurable and math.isfinite(progress.end):
        return Harm.UNMEASURED
    if progress.state is State.DIVERGED:
        return Harm.BROKEN
    # What an evaluation shows that training (dropout, mixed samples, label smoothing) hides counts.
    most = max((share for share in (gained, best) if not math.isnan(share)), default=math.nan)
    if progress.state is State.STALLED:  # no lower than it began, wherever that was
        return Harm.NONE if best >= LITTLE_SHARE else Harm.FAILS
    well = Harm.NONE if progress.improving else Harm.UNKNOWN
    if n_steps < MIN_STEPS or not most < LITTLE_SHARE:
        return well
    if most >= NOTHING_SHARE:
        return well if progress.falls else Harm.LITTLE
    told = progress.state is not State.UNKNOWN or progress.reason in {COMES_DOWN, NO_FURTHER}
    # An evaluation is a mean over many samples: it tells where single losses are too noisy to.
    told = told or best < NOTHING_SHARE
    return Harm.FAILS if told and (ended or not progress.falls) else Harm.UNKNOWN


def _evaluated_share(each: Evaluated, levels: Baseline, first_loss: float, level: float) -> float:
    if not each.values.size:
        return math.nan
    last = median(each.values[-LAST_EVALUATIONS:])
    if each.is_loss:
        same = first_loss / SAME_UNIT <= each.values[0] <= first_loss * SAME_UNIT
        return 1 - last / level if same and level > 0 else math.nan
    commonest = levels.commonest
    if commonest is None or not commonest < 1 or not is_accuracy(each.name):
        return math.nan
    best = -last if np.all(np.abs(each.values) <= 1) else -last / 100
    return (best - commonest) / (1 - commonest)


def is_accuracy(name: str) -> bool:
    """Whether a metric is a share of right answers."""
    words = name.lower().replace("/", "_").replace(".", "_").split("_")
    return any(word in ACCURACY_WORDS for word in words)
