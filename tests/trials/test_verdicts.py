"""The verdict on a remedy, from curves that are made up."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.requests.trial_report import TrialReport
from telemetry.trials.observed import Missing, Observed
from telemetry.trials.order import in_order
from telemetry.trials.result import Outcome, Tried
from telemetry.trials.verdicts import Asked, corrected, judge

N_STEPS = 200
LR = Asked(dose="lr/8", changes="divides the learning rate", treats="learning_rate_too_high")


def _replay(
    level: float,
    *,
    seed: int = 0,
    ends: float | None = None,
    equal_steps: int | None = 1,
    findings: Sequence[str] = (),
    start: float = 2.0,
) -> Observed:
    """Losses that fall from 2 to a level, with noise that the seed alone decides."""
    noise = 0.02 * np.random.default_rng(seed).standard_normal(N_STEPS)
    course = level + (start - level) * np.exp(-np.arange(N_STEPS) / 20) + noise
    course[0] = 2.0 + noise[0]
    if ends is not None:
        course[-20:] = ends
    losses = Series(steps=np.arange(N_STEPS), values=course, of_batches=True)
    report = TrialReport(run="r", n_steps=N_STEPS, equal_steps=equal_steps, n_acts=1)
    return Observed(
        seed_offset=seed,
        report=report,
        curves={"loss": losses},
        findings=frozenset(findings),
        roots=frozenset(findings),
    )


def _sides(
    control: float, treated: float, *, n_seeds: int = 2
) -> tuple[list[Observed], list[Observed | Missing]]:
    return (
        [_replay(control, seed=seed) for seed in range(n_seeds)],
        [_replay(treated, seed=seed) for seed in range(n_seeds)],
    )


@pytest.mark.parametrize("n_seeds", [1, 2, 4])
@pytest.mark.parametrize(
    ("control", "treated", "outcome"),
    [(1.5, 0.4, Outcome.CONFIRMED), (0.4, 1.5, Outcome.WORSE)],
)
def test_a_large_effect_is_told_from_few_pairs(
    control: float, treated: float, outcome: Outcome, n_seeds: int
) -> None:
    sides = _sides(control, treated, n_seeds=n_seeds)
    found = judge(LR, *sides)
    assert found.outcome is outcome
    assert found.metric == "loss"
    assert found.ci_low <= found.treated <= found.ci_high
    assert found.n_seeds == n_seeds
    assert found.n_better == (n_seeds if outcome is Outcome.CONFIRMED else 0)


def _spiking(seed: int, *, low: float, spikes: float) -> Observed:
    """Losses near a level, a fifth of them large."""
    draw = np.random.default_rng(seed)
    values = low * np.exp(0.3 * draw.standard_normal(N_STEPS))
    values[draw.random(N_STEPS) < 0.2] = spikes
    values[0] = 2.0
    losses = Series(steps=np.arange(N_STEPS), values=values, of_batches=True)
    report = TrialReport(run="r", n_steps=N_STEPS, equal_steps=1, n_acts=1)
    return Observed(seed_offset=seed, report=report, curves={"loss": losses})


def test_a_fall_by_orders_of_magnitude_is_told_though_a_few_losses_are_large() -> None:
    control = [_spiking(seed, low=0.2, spikes=8.0) for seed in range(2)]
    treated = [_spiking(seed, low=0.004, spikes=0.01) for seed in range(2)]
    found = judge(LR, control, treated)
    assert found.outcome is Outcome.CONFIRMED
    assert 0 < found.ci_low < found.treated < found.ci_high < found.control
    assert found.treated == pytest.approx(0.005, rel=0.3)  # that of the typical batch


def test_nothing_is_claimed_where_the_mean_says_the_opposite() -> None:
    control = [_spiking(seed, low=0.2, spikes=0.3) for seed in range(2)]
    treated = [_spiking(seed, low=0.01, spikes=8.0) for seed in range(2)]
    assert judge(LR, control, treated).outcome is Outcome.NO_EFFECT


def test_losses_of_zero_and_below_are_measured_as_well() -> None:
    for shift in (0.0, -1.0):
        control, treated = [_spiking(0, low=0.2, spikes=0.5)], [_spiking(0, low=0.01, spikes=0.02)]
        for one in (*control, *treated):
            losses = one.curves["loss"].values
            losses[50] = 0.0
            losses += shift
        found = judge(LR, control, treated)
        assert found.outcome is Outcome.CONFIRMED
        assert math.isfinite(found.ci_low)


def test_a_small_effect_is_not_claimed_and_the_power_is_told() -> None:
    control = [_replay(1.0, seed=seed) for seed in range(2)]
    treated: list[Observed | Missing] = [
        replace(_replay(0.98, seed=seed + 10, equal_steps=0), seed_offset=seed) for seed in range(2)
    ]
    found = judge(LR, control, treated)
    assert found.outcome is Outcome.NO_EFFECT
    assert 0.01 < found.detectable < 0.5


def test_equal_curves_mean_that_the_remedy_changes_nothing() -> None:
    assert judge(LR, *_sides(1.0, 1.0)).outcome is Outcome.UNCHANGED


def test_a_difference_before_the_remedy_acts_is_no_effect_of_it() -> None:
    control = [_replay(1.0)]
    treated: list[Observed | Missing] = [_replay(0.5, equal_steps=50)]
    found = judge(LR, control, treated)
    assert found.outcome is Outcome.FAILED
    assert "step 1, before the remedy acts" in found.reason


def test_a_remedy_without_which_the_training_diverges_is_confirmed() -> None:
    control = [_replay(1.0, seed=seed, ends=math.nan) for seed in range(2)]
    treated: list[Observed | Missing] = [_replay(0.5, seed=seed) for seed in range(2)]
    found = judge(LR, control, treated)
    assert found.outcome is Outcome.CONFIRMED
    assert found.n_better == 2


def test_a_remedy_that_makes_it_diverge_is_worse() -> None:
    control = [_replay(1.0, seed=seed) for seed in range(2)]
    treated: list[Observed | Missing] = [
        _replay(1.0, seed=seed, ends=math.nan) for seed in range(2)
    ]
    assert judge(LR, control, treated).outcome is Outcome.WORSE


def test_a_refusal_and_a_failure_are_told_apart() -> None:
    control = [_replay(1.0)]
    refused = Missing(reason="no optimizer maximises", is_refused=True)
    failed = Missing(reason="the script ended with exit code 1: KeyError: 'x'")
    assert judge(LR, control, [refused]).outcome is Outcome.NOT_APPLICABLE
    assert judge(LR, control, [failed]).outcome is Outcome.FAILED
    assert judge(LR, control, [failed]).reason == failed.reason


def test_a_remedy_that_changes_the_loss_itself_is_not_judged_by_it() -> None:
    asked = Asked(dose="no-dropout", changes="turns dropout layers off", same_loss=False)
    found = judge(asked, *_sides(1.5, 0.4))
    assert found.outcome is Outcome.NOT_JUDGED
    assert "val_loss" in found.reason


def test_the_finding_is_gone_only_where_the_control_showed_it() -> None:
    name = "learning_rate_too_high"
    with_it, without = _replay(1.5, findings=[name]), _replay(0.4, findings=["dead_units"])
    found = judge(LR, [with_it], [without])
    assert found.finding_gone is True
    assert found.new_findings == ("dead_units",)
    assert judge(LR, [_replay(1.5)], [without]).finding_gone is None


def test_claims_are_corrected_for_the_number_of_remedies() -> None:
    claim = judge(LR, *_sides(1.5, 0.4))
    weak = [_with_p(claim, 0.03) for _ in range(10)]
    assert {one.outcome for one in corrected(weak[:1])} == {Outcome.CONFIRMED}
    assert {one.outcome for one in corrected(weak)} == {Outcome.NO_EFFECT}
    assert [one.p for one in corrected(weak)] == pytest.approx([0.3] * 10)


def test_confirmed_remedies_come_first_by_their_effect() -> None:
    small, large = judge(LR, *_sides(1.5, 0.9)), judge(LR, *_sides(1.5, 0.2))
    worse = judge(LR, *_sides(0.4, 1.5))
    assert in_order([worse, small, large]) == [large, small, worse]


def _with_p(one: Tried, p: float) -> Tried:
    return replace(one, p=p)
