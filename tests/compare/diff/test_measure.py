from collections import Counter

import pytest
from curve_makers import loss_curve

from telemetry.compare.diff.measure import MetricQuestion, measure
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.compare.terms import Direction, Verdict

QUESTION = MetricQuestion(name="val_loss", direction=Direction.LOWER, margin=0.01)
SEED_NOISE = 0.03
COMPARISONS = 100


def verdicts(*, runs: int, shift: float) -> Counter[Verdict]:
    """Verdicts of independent comparisons of groups, ten evaluations a run."""
    found: Counter[Verdict] = Counter()
    for comparison in range(COMPARISONS):
        groups = [
            MetricCurves(
                curves=tuple(
                    loss_curve(
                        1_000 * comparison + 100 * side + seed,
                        every=30,
                        seed_noise=SEED_NOISE,
                        step_noise=0.005,
                        shift=side * shift,
                    )
                    for seed in range(runs)
                )
            )
            for side in (0, 1)
        ]
        found[measure(QUESTION, *groups).verdict] += 1
    return found


def test_three_seeds_against_three_are_seldom_a_regression() -> None:
    assert verdicts(runs=3, shift=0.0)[Verdict.REGRESSION] <= 0.08 * COMPARISONS


def test_four_deviations_are_found_with_three_seeds_a_side() -> None:
    assert verdicts(runs=3, shift=4 * SEED_NOISE)[Verdict.REGRESSION] >= 0.85 * COMPARISONS


def test_one_seed_against_one_is_seldom_a_regression_and_seldom_blind_to_a_disaster() -> None:
    assert verdicts(runs=1, shift=0.0)[Verdict.REGRESSION] <= 0.05 * COMPARISONS
    assert verdicts(runs=1, shift=0.5)[Verdict.REGRESSION] >= 0.95 * COMPARISONS


def seeded(seeds: tuple[int, ...], shift: float = 0.0) -> MetricCurves:
    curves = tuple(loss_curve(seed, every=20, seed_noise=0.1, shift=shift) for seed in seeds)
    return MetricCurves(curves=curves, seeds=seeds)


def test_a_candidate_of_some_of_the_seeds_is_compared_with_those() -> None:
    change = measure(QUESTION, seeded((0, 1, 2, 3, 4)), seeded((3, 0, 1), shift=0.02))
    assert (change.paired, change.n_base, change.n_candidate) == (True, 3, 3)
    assert change.change * change.base == pytest.approx(0.02)
    assert change.verdict is Verdict.REGRESSION


def test_seeds_that_do_not_carry_over_leave_no_run_out() -> None:
    other = MetricCurves(curves=seeded((5, 6, 7)).curves, seeds=(3, 0, 1))
    change = measure(QUESTION, seeded((0, 1, 2, 3, 4)), other)
    assert (change.paired, change.n_base, change.n_candidate) == (False, 5, 3)


def test_single_runs_of_one_seed_that_run_in_parallel_are_told_apart() -> None:
    change = measure(QUESTION, seeded((0,)), seeded((0,), shift=0.02))
    assert change.paired
    assert change.verdict is Verdict.REGRESSION
    unknown = MetricCurves(curves=seeded((0,), shift=0.02).curves)
    assert measure(QUESTION, seeded((0,)), unknown).verdict is Verdict.INCONCLUSIVE
