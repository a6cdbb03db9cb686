"""The order of remedies: what undoes a finding of the run stands before what merely helps; pure.

A lower loss is no proof of a cause: within some hundred steps a higher rate gains more than the
cure of most faults. So a confirmed remedy comes first if a rule has asked for it and is silent with
it.
"""

from collections.abc import Sequence

from telemetry.compare.curves.metric_names import direction_of
from telemetry.compare.terms import Direction
from telemetry.trials.result import Outcome, Tried

ORDER = (
    Outcome.CONFIRMED,
    Outcome.NO_EFFECT,
    Outcome.REFUTED,
    Outcome.WORSE,
    Outcome.NOT_JUDGED,
    Outcome.UNCHANGED,
    Outcome.NOT_APPLICABLE,
    Outcome.FAILED,
)


def in_order(tried: Sequence[Tried]) -> list[Tried]:
    """Remedies that answer a finding, then those that are a gain, then what is not confirmed.

    Of the first, those with which the finding is gone come first, then those of the largest effect.
    Of gains, one that restores what a training has to do comes before one that tunes a choice,
    unless that is clearly better.
    """
    rank = {outcome: place for place, outcome in enumerate(ORDER)}
    by_effect = sorted(tried, key=lambda one: (rank[one.outcome], *_effect(one)))
    answers = [one for one in by_effect if one.answers_finding]
    gains = [one for one in by_effect if one.is_confirmed and not one.answers_finding]
    rest = [one for one in by_effect if not one.is_confirmed]
    answers.sort(key=lambda one: one.finding_gone is not True)
    return [*answers, *_restoring_first(gains), *rest]


def _effect(one: Tried) -> tuple[float, float]:
    """Lowest first; where the control diverged every gain is infinite, and the value decides."""
    sign = 1.0 if direction_of(one.metric or "loss") is Direction.LOWER else -1.0
    return -one.gain, sign * one.treated


def _restoring_first(by_effect: Sequence[Tried]) -> list[Tried]:
    placed: list[Tried] = []
    for one in by_effect:
        at = len(placed)
        while at and one.restores and _gives_way(placed[at - 1], one):
            at -= 1
        placed.insert(at, one)
    return placed


def _gives_way(tuning: Tried, restoring: Tried) -> bool:
    """Whether a remedy of larger effect tunes only, and its lead may be chance."""
    if tuning.restores:
        return False
    are_apart = tuning.ci_high < restoring.ci_low or restoring.ci_high < tuning.ci_low
    return tuning.metric != restoring.metric or not are_apart
