"""How findings say ratios and what guessing scores."""

import math

import pytest

from telemetry.diagnose.judgement.progress import Baseline
from telemetry.diagnose.wording import guess, guessing_score, times


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (2.8, "7×"),
        (7.0, "130×"),
        (1.0, "2×"),
        (0.6, "1.52×"),
        (14.0, "16 000×"),
        (24.0, "17 000 000×"),
        (0.0, "1.00×"),
        (1e9, "1.1e+301×"),
    ],
)
def test_bits_are_said_as_a_factor(bits: float, said: str) -> None:
    assert times(bits) == said


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (
            Baseline(naive=math.log(10), constant=2.3, kind="cross_entropy"),
            "random guessing scores 2.30 (ln 10)",
        ),
        (
            Baseline(naive=math.log(10), kind="cross_entropy"),
            "random guessing scores 2.30 (ln 10)",
        ),
        (  # labels of uneven frequency are guessed better than at random
            Baseline(naive=math.log(10), constant=1.2, kind="cross_entropy"),
            "guessing by the frequencies of the labels scores 1.2",
        ),
        (  # a sum over 64 samples is the logarithm of no number of classes
            Baseline(naive=64 * math.log(10), kind="cross_entropy"),
            "random guessing scores 147",
        ),
        (  # nor is a loss that is scaled to almost nothing
            Baseline(naive=3e-7, kind="cross_entropy"),
            "random guessing scores 3e-07",
        ),
        (Baseline(naive=4.0, constant=1.0, kind="mse_loss"), "the best constant answer scores 1"),
        (Baseline(naive=4.0, kind="mse_loss"), "always answering zero scores 4"),
        (Baseline(), ""),
    ],
)
def test_guessing_is_named_by_what_it_is(levels: Baseline, said: str) -> None:
    assert guessing_score(levels) == said


def test_a_regression_is_not_guessed_at_random() -> None:
    assert guess(Baseline(naive=4.0, kind="mse_loss")) == "always answering zero"
    assert guess(Baseline(naive=0.69, kind="binary_cross_entropy")) == "random guessing"
