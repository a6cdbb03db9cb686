"""clip_saturation."""

import pytest
from judged_runs import Chains, diagnosed, found, learning, not_checked

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


def test_no_clipping_is_not_checked(chain: Chains) -> None:
    run = chain(3).losses(learning(120))
    assert "clipping was seen in 0 steps" in not_checked(diagnosed(run), ID).reason
