from collections import Counter

from compare.curve_makers import loss_curve

from telemetry.compare.diff_result import Direction, Verdict
from telemetry.compare.measure import Group, Question, measure

QUESTION = Question(name="val_loss", direction=Direction.LOWER, margin=0.01)
SEED_NOISE = 0.03
COMPARISONS = 100


def verdicts(*, runs: int, shift: float) -> Counter[Verdict]:
    """Verdicts of independent comparisons of groups, ten evaluations a run."""
    found: Counter[Verdict] = Counter()
    for comparison in range(COMPARISONS):
        groups = [
            Group(
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
