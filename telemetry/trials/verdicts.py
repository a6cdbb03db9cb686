"""The verdict on a remedy: replays with it against those without, paired by seed; pure.

The statistics are those of `telemetry diff`; see `measured`. Holm's correction is taken over all
remedies that were measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from telemetry.compare.curves.metric_names import LOSS, by_importance, direction_of
from telemetry.compare.curves.trends import trend
from telemetry.compare.diff.diff import DEFAULT_MARGIN
from telemetry.compare.diff.measure import MetricQuestion
from telemetry.compare.statistics.verdicts import CLAIM_LEVEL, holm
from telemetry.compare.terms import Direction, Verdict
from telemetry.trials.measured import measured
from telemetry.trials.observed import Missing, Observed, first_difference, group_of
from telemetry.trials.result import Outcome, Tried

OUTCOMES = {
    Verdict.IMPROVEMENT: Outcome.CONFIRMED,
    Verdict.REGRESSION: Outcome.WORSE,
    Verdict.NO_CHANGE: Outcome.REFUTED,
    Verdict.INCONCLUSIVE: Outcome.NO_EFFECT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One remedy that was tried.

    Attributes:
        dose: As `lr/8`.
        changes: In words.
        treats: The finding of the run that it is a remedy for.
        same_loss: Whether the training loss may be compared.
        restores: Whether it does what a training loop has to do; else it tunes a choice.
    """

    dose: str
    changes: str
    treats: str | None = None
    same_loss: bool = True
    restores: bool = False


def judge(
    asked: Asked, control: Sequence[Observed], treated: Sequence[Observed | Missing]
) -> Tried:
    """The verdict on one remedy, before the correction for their number.

    Args:
        asked: The remedy.
        control: Unchanged replays, one a seed.
        treated: Replays with it, or why there is none.
    """
    blank = Tried(
        dose=asked.dose,
        changes=asked.changes,
        treats=asked.treats,
        restores=asked.restores,
        outcome=Outcome.NO_EFFECT,
        reason="",
    )
    missing = [one for one in treated if isinstance(one, Missing)]
    seen = [one for one in treated if not isinstance(one, Missing)]
    if missing:
        outcome = Outcome.NOT_APPLICABLE if missing[0].is_refused else Outcome.FAILED
        return replace(blank, outcome=outcome, reason=missing[0].reason)
    pairs = [(_of_seed(control, one.seed_offset), one) for one in seen]
    if all(_is_equal(left, right) for left, right in pairs):
        return replace(
            blank, outcome=Outcome.UNCHANGED, reason="every loss is that of the unchanged run"
        )
    parted = [part for left, right in pairs if (part := _parted_early(left, right)) is not None]
    if parted:
        return replace(
            blank,
            outcome=Outcome.FAILED,
            reason=f"the losses already differ at step {parted[0]}, before the remedy acts",
        )
    return _measured(asked, blank, control, seen)


def corrected(tried: Sequence[Tried]) -> list[Tried]:
    """P values after Holm over those that were measured; claims that do not hold are withdrawn."""
    measured = [at for at, one in enumerate(tried) if not math.isnan(one.p)]
    adjusted = dict(zip(measured, holm([tried[at].p for at in measured]), strict=True))
    return [_held(one, adjusted[at]) if at in adjusted else one for at, one in enumerate(tried)]


def _measured(
    asked: Asked, blank: Tried, control: Sequence[Observed], treated: Sequence[Observed]
) -> Tried:
    name = _deciding(asked, control, treated)
    if name is None:
        return replace(
            blank,
            outcome=Outcome.NOT_JUDGED,
            reason="it changes what the training loss means, and no evaluation was logged; call "
            "telemetry.log(val_loss=...)",
        )
    question = MetricQuestion(name=name, direction=direction_of(name), margin=DEFAULT_MARGIN)
    paired = [_of_seed(control, one.seed_offset) for one in treated]
    change = measured(question, group_of(paired, name), group_of(list(treated), name))
    finals = [
        (left.curves[name].final(), right.curves[name].final())
        for left, right in zip(paired, treated, strict=True)
    ]
    return replace(
        blank,
        outcome=OUTCOMES[change.verdict],
        reason=change.reason,
        metric=name,
        step=_last_step(paired, treated, name),
        n_seeds=len(finals),
        n_better=sum(_is_better(question.direction, *pair) for pair in finals),
        control=change.control,
        treated=change.treated,
        ci_low=change.ci_low,
        ci_high=change.ci_high,
        p=change.p,
        detectable=change.detectable,
        finding_gone=_is_gone(asked, paired, treated),
        new_findings=_new_findings(paired, treated),
        equal_steps=min((one.report.equal_steps or 0 for one in treated), default=None),
        trend=trend([one.curves[name] for one in paired], [one.curves[name] for one in treated]),
    )


def _deciding(asked: Asked, control: Sequence[Observed], treated: Sequence[Observed]) -> str | None:
    """The training loss, which each step has; where it means something else, an evaluation.

    A short replay has few evaluations, and from three values hardly anything can be claimed: of a
    rate a hundred times too high, validation losses at three steps could not show it.
    """
    if asked.same_loss:
        return LOSS
    common = set.intersection(*({*one.curves} for one in (*control, *treated))) - {LOSS}
    return next(iter(by_importance(common)), None)


def _held(one: Tried, p: float) -> Tried:
    if p <= CLAIM_LEVEL or one.outcome is Outcome.NO_EFFECT:
        return replace(one, p=p)
    return replace(one, p=p, outcome=Outcome.NO_EFFECT)


def _of_seed(members: Sequence[Observed], offset: int) -> Observed:
    return next(one for one in members if one.seed_offset == offset)


def _is_equal(left: Observed, right: Observed) -> bool:
    one, other = left.losses, right.losses
    if one is None or other is None:
        return False
    return len(one) == len(other) and first_difference(one, other, steps=len(one)) is None


def _parted_early(left: Observed, right: Observed) -> int | None:
    """The step at which a loss differs although the remedy had not acted yet."""
    one, other = left.losses, right.losses
    if one is None or other is None:
        return None
    equal = right.report.equal_steps
    return first_difference(one, other, steps=len(one) if equal is None else equal)


def _is_better(direction: Direction, control: float, treated: float) -> bool:
    if math.isnan(treated):
        return False
    if math.isnan(control):
        return True
    return treated < control if direction is Direction.LOWER else treated > control


def _last_step(control: Sequence[Observed], treated: Sequence[Observed], name: str) -> int:
    return min(int(one.curves[name].steps[-1]) for one in (*control, *treated))


def _is_gone(asked: Asked, control: Sequence[Observed], treated: Sequence[Observed]) -> bool | None:
    """Whether the finding shows in the control and not with the remedy, where both were judged."""
    sides = [
        [one.findings for one in side if one.findings is not None] for side in (control, treated)
    ]
    if asked.treats is None or not all(sides):
        return None
    if not any(asked.treats in found for found in sides[0]):
        return None  # so few steps do not show it
    return not any(asked.treats in found for found in sides[1])


def _new_findings(control: Sequence[Observed], treated: Sequence[Observed]) -> tuple[str, ...]:
    """Causes that a remedy has brought; what the control shows already is none of them."""
    before = {name for one in control for name in one.findings or ()}
    return tuple(sorted({name for one in treated for name in one.roots} - before))
