"""Numbers within the sentences of a verdict."""

import math

import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.compare.diff import reasons
from telemetry.compare.diff.measure import MetricQuestion, corrected, measure
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.compare.diff.result import MetricChange
from telemetry.compare.terms import Direction, Verdict


def measured(*, spread: float, shift: float) -> MetricChange:
    """Three runs a side, one `spread` apart, the candidate's `shift` above the base's of 1."""
    base, candidate = (
        MetricCurves(
            curves=tuple(
                Series(steps=np.arange(3), values=np.full(3, 1 + moved + spread * place))
                for place in (-1, 0, 1)
            )
        )
        for moved in (0.0, shift)
    )
    return measure(
        MetricQuestion(name="loss", direction=Direction.LOWER, margin=0.01), base, candidate
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0712, "+7.12 %"),
        (-0.00337, "-0.337 %"),
        (0.0, "+0 %"),
        (-3.4, "-340 %"),
        (12.345, "+1230 %"),
        (-123.4, "-12300 %"),
        (1e10, "+1e+12 %"),
        (math.inf, "+inf"),
    ],
)
def test_a_change_of_thousands_is_no_power_of_ten(share: float, text: str) -> None:
    assert reasons.percent(share) == text


@pytest.mark.parametrize(
    ("spread", "shift", "verdict", "text"),
    [
        (
            0.02,
            -0.10,
            Verdict.IMPROVEMENT,
            "better (p 0.0018), and by more than the margin of 1 %.",
        ),
        (
            0.02,
            -0.05,
            Verdict.IMPROVEMENT,
            (
                "better (p 0.019); the best estimate exceeds the margin of 1 %, but the "
                "interval includes smaller changes."
            ),
        ),
        (
            0.02,
            0.041,
            Verdict.REGRESSION,
            (
                "worse (p 0.033) in the one-sided test; the size is uncertain: the best "
                "estimate exceeds the margin of 1 %, but the two-sided interval contains 0."
            ),
        ),
        (0.001, 0.0, Verdict.NO_CHANGE, "equal within the margin of 1 % (p < 0.001)."),
        (
            0.0049,
            0.0,
            Verdict.NO_CHANGE,
            (
                "equal within the margin of 1 % according to two one-sided tests (p 0.033), "
                "although the wider two-sided interval reaches beyond it."
            ),
        ),
    ],
)
def test_the_sentence_says_what_was_tested_and_no_more_than_the_interval(
    spread: float, shift: float, verdict: Verdict, text: str
) -> None:
    change = measured(spread=spread, shift=shift)
    assert change.verdict is verdict
    assert change.reason.endswith(f": {text}")


def test_a_change_that_many_metrics_make_uncertain_shows_the_corrected_p_value() -> None:
    change = measured(spread=0.02, shift=0.05)
    held = corrected([change] * 5)[-1]
    assert held.verdict is Verdict.INCONCLUSIVE
    assert held.reason.endswith(
        "With 4 metrics compared, this may be chance (p 0.075 with Holm's correction)."
    )


@pytest.mark.parametrize(
    ("spread", "shift", "text"),
    [
        (0.5, 0.1, "the runs cannot show whether there is a change; with 3 runs per side"),
        (0.0035, 0.009, "the runs cannot show whether this is beyond the margin of 1 %; with 3"),
    ],
)
def test_an_open_verdict_says_what_the_runs_cannot_tell(
    spread: float, shift: float, text: str
) -> None:
    change = measured(spread=spread, shift=shift)
    assert change.verdict is Verdict.INCONCLUSIVE
    assert text in change.reason
