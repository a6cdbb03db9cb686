"""gradients_not_cleared."""

from collections.abc import Mapping

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity


def compared(run: Chain, shares: Mapping[int, float]) -> Chain:
    for step, loss in enumerate(learning(60)):
        run.add("steps", step=step, loss=loss, flags=17, stale_grad_share=shares.get(step))
    return run


def test_gradients_that_stay_are_an_error_in_a_run_that_learns(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 1.0))
    result = found(diagnosed(run), "gradients_not_cleared")
    assert (result.severity, result.first_step, result.last_step) == (Severity.ERROR, 1, 56)
    assert "12 of 12 comparisons" in result.message


def test_one_parameter_of_eight_that_is_not_cleared_is_told_as_a_share(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 0.125))
    result = found(diagnosed(run), "gradients_not_cleared")
    assert result.value == pytest.approx(0.125)
    assert "not only those of one module" in result.advice


def test_cleared_gradients_pass(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 0.0))
    assert "gradients_not_cleared" in diagnosed(run).passed


def test_two_steps_that_share_a_gradient_pass(chain: Chains) -> None:
    """A loop that went on after an exception, say."""
    run = compared(chain(2), {step: float(step in {1, 26}) for step in range(1, 60, 5)})
    assert "gradients_not_cleared" in diagnosed(run).passed


def test_gradients_cleared_in_every_second_step_are_found(chain: Chains) -> None:
    run = compared(chain(2), {step: float(step % 2) for step in range(1, 60)})
    assert found(diagnosed(run), "gradients_not_cleared").first_step == 1


def test_gradients_that_stay_at_the_end_are_not_checked(chain: Chains) -> None:
    run = compared(chain(2), {step: float(step >= 51) for step in range(1, 60, 5)})
    reason = not_checked(diagnosed(run), "gradients_not_cleared").reason
    assert "in the last 2 of 12 comparisons, from step 51 on" in reason


def test_comparisons_that_end_long_before_the_run_are_not_checked(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 25, 5), 0.0))
    reason = not_checked(diagnosed(run), "gradients_not_cleared").reason
    assert reason.endswith("until step 21, the run went on to step 59")


def test_too_few_comparisons_are_not_checked(chain: Chains) -> None:
    run = compared(chain(2), {1: 1.0, 2: 1.0})
    assert "2 times" in not_checked(diagnosed(run), "gradients_not_cleared").reason
