import math

import numpy as np
import pytest
from curve_makers import loss_curve

from telemetry.compare.curves.align import Series
from telemetry.compare.diff.single_runs import (
    own_share,
    resolution,
    seed_allowance,
    single_difference,
)
from telemetry.compare.statistics.verdicts import nearest_claim
from telemetry.compare.terms import Direction, Verdict


def verdict(base: Series, candidate: Series) -> Verdict | None:
    single = single_difference(base, candidate, Direction.LOWER)
    if single is None:
        return None
    return nearest_claim(single.final, Direction.LOWER, 0.01 * base.final()).made


@pytest.mark.parametrize("every", [1, 30])
def test_runs_that_differ_by_seed_are_never_called_a_regression(every: int) -> None:
    curves = [loss_curve(i, every=every) for i in range(40)]
    verdicts = [verdict(a, b) for a, b in zip(curves[::2], curves[1::2], strict=True)]
    assert set(verdicts) == {Verdict.INCONCLUSIVE}


def test_a_difference_that_no_seed_explains_is_found_without_other_seeds() -> None:
    assert verdict(loss_curve(0), loss_curve(1, shift=1.0)) is Verdict.REGRESSION
    assert verdict(loss_curve(0, shift=1.0), loss_curve(1)) is Verdict.IMPROVEMENT


def test_a_candidate_that_does_not_learn_is_a_regression() -> None:
    stuck = Series(steps=np.arange(300), values=np.full(300, 2.5))
    assert verdict(loss_curve(0), stuck) is Verdict.REGRESSION


def test_a_candidate_that_explodes_late_is_a_regression() -> None:
    curve = loss_curve(1)
    exploded = np.where(curve.steps > 200, 2.0 ** (curve.steps / 10.0), curve.values)
    assert verdict(loss_curve(0), Series(steps=curve.steps, values=exploded)) is Verdict.REGRESSION


def test_the_same_values_are_no_change_with_certainty() -> None:
    single = single_difference(loss_curve(0), loss_curve(0), Direction.LOWER)
    assert single is not None
    assert single.final.interval() == (0.0, 0.0)


def test_two_evaluations_say_nothing() -> None:
    two = Series(steps=np.array([10, 20]), values=np.array([1.0, 0.5]))
    assert single_difference(two, two, Direction.LOWER) is None


def test_the_error_grows_with_the_noise_of_the_curves() -> None:
    errors = []
    for noise in (0.02, 0.4):
        pair = (loss_curve(1, step_noise=noise), loss_curve(2, step_noise=noise))
        single = single_difference(*pair, Direction.LOWER)
        assert single is not None
        errors.append(single.final.standard_error)
    assert errors[1] > 1.5 * errors[0]


def test_the_allowance_grows_with_progress_that_was_still_going_on() -> None:
    steps = np.arange(100)
    settled = Series(steps=steps, values=np.where(steps < 20, 2.0 - steps / 20, 1.0))
    falling = Series(steps=steps, values=2.0 - steps / 100)
    assert seed_allowance(settled, settled, Direction.LOWER) == pytest.approx(0.04 * 0.75, rel=0.1)
    assert seed_allowance(falling, falling, Direction.LOWER) > 0.15


def test_one_example_more_or_less_is_within_the_allowance() -> None:
    accuracy = Series(steps=np.arange(5), values=np.array([0.97, 0.98, 0.97, 0.98, 0.97]))
    assert seed_allowance(accuracy, accuracy, Direction.HIGHER) >= 0.005
    assert resolution(np.array([0.5, 0.5, math.nan])) == 0.0


def test_curves_that_run_in_parallel_share_their_seed() -> None:
    curve = loss_curve(0, every=10)
    wiggle = 0.001 * loss_curve(1, every=10).values
    near = Series(steps=curve.steps, values=curve.values + 0.02 + wiggle)
    assert own_share(curve.values, near.values) < 0.01
    assert own_share(curve.values, loss_curve(2, every=10).values) > 0.5
    apart = single_difference(curve, near, Direction.LOWER)
    together = single_difference(curve, near, Direction.LOWER, same_seed=True)
    assert apart is not None
    assert together is not None
    assert together.seed_allowance < 0.1 * apart.seed_allowance
    assert together.final.difference == apart.final.difference
    assert nearest_claim(together.final, Direction.LOWER, 0.01).made is Verdict.REGRESSION
    assert nearest_claim(apart.final, Direction.LOWER, 0.01).made is Verdict.INCONCLUSIVE


def test_too_few_points_and_flat_curves_do_not_show_a_shared_seed() -> None:
    few = np.array([3.0, 2.0, 1.0])
    assert own_share(few, few) == 1.0
    assert own_share(np.ones(20), np.ones(20)) == 1.0
