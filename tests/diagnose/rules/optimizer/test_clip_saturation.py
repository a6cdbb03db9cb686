"""clip_saturation."""

import pytest
from judged_runs import WIDTH, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "clip_saturation"


def test_clipping_at_every_step_is_told(chain: Chains) -> None:
    run = chain(3).losses(learning(120), clip_coefficient=0.05)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(20.0)
    assert (result.first_step, result.last_step) == (0, 119)
    assert "divided by 20" in result.advice


@pytest.mark.parametrize("coefficient", [1.0, 0.5])
def test_clipping_that_stands_aside_or_cuts_little_passes(
    chain: Chains, coefficient: float
) -> None:
    run = chain(3).losses(learning(120), clip_coefficient=coefficient)
    assert ID in diagnosed(run).passed


@pytest.mark.parametrize(
    ("ratio", "cut", "expected"),
    [
        (2.0**-12, 0.01, Severity.WARNING),
        (2.0**-10, 0.01, Severity.INFO),  # steps of usual size: something else is wrong
        (2.0**-16, 0.1, Severity.INFO),  # too small without clipping as well
    ],
)
def test_clipping_that_makes_the_steps_too_small_is_the_cause(
    chain: Chains, ratio: float, cut: float, expected: Severity
) -> None:
    run = chain(3).losses(stalled(2.3, 300), clip_coefficient=cut)
    for step in range(0, 300, 5):
        run.logits(step)
        for name in ("l0.weight", "l1.weight", "l2.weight"):
            run.norm(name, "gradient", step, 1.0, n=WIDTH**2)
            run.norm(name, "weight", step, 8.0, n=WIDTH**2)
            run.norm(name, "update", step, 8.0 * ratio, n=WIDTH**2)
    assert found(diagnosed(run), ID).severity is expected


def test_no_clipping_is_not_checked(chain: Chains) -> None:
    run = chain(3).losses(learning(120))
    assert "clipping was seen in 0 steps" in not_checked(diagnosed(run), ID).reason
