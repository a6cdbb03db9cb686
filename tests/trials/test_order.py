"""Which remedy stands first: the one that a finding asked for, and that undoes it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from telemetry.trials.order import in_order
from telemetry.trials.result import Outcome, Tried

CURE = Tried(
    dose="add-forgotten",
    changes="adds the model's forgotten parameters to the optimizer",
    treats="forgotten_parameters",
    restores=True,
    outcome=Outcome.CONFIRMED,
    reason="",
    metric="loss",
    control=2.0,
    treated=1.5,
    ci_low=1.45,
    ci_high=1.55,
    finding_gone=True,
)
RATE = replace(
    CURE,
    dose="lr*8",
    treats=None,
    restores=False,
    treated=0.5,
    ci_low=0.45,
    ci_high=0.55,
    finding_gone=None,
)


def _doses(tried: Sequence[Tried]) -> list[str]:
    return [one.dose for one in in_order(tried)]


def test_what_undoes_a_finding_stands_before_a_larger_gain() -> None:
    assert CURE.gain < RATE.gain
    assert _doses([RATE, CURE]) == ["add-forgotten", "lr*8"]
    assert not RATE.answers_finding
    assert in_order([RATE, CURE])[1].to_json()["answers_finding"] is False


def test_a_remedy_whose_finding_stays_is_a_gain() -> None:
    stays = replace(CURE, dose="unfreeze", restores=False, finding_gone=False)
    assert not stays.answers_finding
    assert _doses([stays, RATE, CURE]) == ["add-forgotten", "lr*8", "unfreeze"]


def test_of_remedies_of_findings_those_that_undo_them_come_first_then_by_effect() -> None:
    unknown = replace(CURE, dose="unknown", treated=0.2, finding_gone=None)
    better = replace(CURE, dose="better", treated=1.0)
    assert _doses([unknown, CURE, better]) == ["better", "add-forgotten", "unknown"]


@pytest.mark.parametrize(
    ("interval", "first"), [((0.45, 0.55), "lr*8"), ((0.45, 1.5), "zero-grad")]
)
def test_without_a_finding_what_restores_wins_unless_tuning_is_clearly_better(
    interval: tuple[float, float], first: str
) -> None:
    restores = replace(CURE, dose="zero-grad", treats=None, finding_gone=None)
    tunes = replace(RATE, ci_low=interval[0], ci_high=interval[1])
    assert _doses([restores, tunes])[0] == first


def test_effects_on_two_metrics_cannot_be_told_apart_by_their_intervals() -> None:
    restores = replace(CURE, dose="modes", treats=None, finding_gone=None, metric="val_loss")
    assert _doses([restores, RATE]) == ["modes", "lr*8"]


def test_what_is_not_confirmed_comes_last_whatever_it_is_for() -> None:
    refuted = replace(CURE, dose="refuted", outcome=Outcome.REFUTED)
    assert _doses([refuted, RATE]) == ["lr*8", "refuted"]
    assert not refuted.answers_finding


def test_where_the_control_diverges_the_lower_loss_comes_first() -> None:
    high, low = (replace(RATE, dose=str(end), control=math.nan, treated=end) for end in (1.5, 0.5))
    assert _doses([high, low]) == ["0.5", "1.5"]
