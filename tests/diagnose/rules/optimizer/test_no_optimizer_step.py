"""no_optimizer_step, on recordings that do not hold what it reads."""

import pytest
from judged_runs import Chains, diagnosed, found, learning, not_checked


def test_a_recording_without_its_columns_is_not_checked(chain: Chains) -> None:
    """Older versions recorded neither steps of optimizers nor whether weights moved."""
    reason = not_checked(diagnosed(chain(3).losses(learning(60), every=1)), "no_optimizer_step")
    assert "record again" in reason.reason


@pytest.mark.parametrize("n_steps", [15, 16])
def test_backward_passes_that_reach_no_weight(chain: Chains, n_steps: int) -> None:
    """The loss was made anew from a number: each step of the optimizer has nothing to use."""
    run = chain(3)
    for step in range(n_steps):
        run.add(
            "steps",
            step=step,
            loss=2.3,
            lr=0.1,
            flags=17,
            accumulation=1,
            backward_calls=1,
            empty_optimizer_steps=1,
        )
    result = diagnosed(run)
    if n_steps < 16:
        assert "no_optimizer_step" in result.passed
        return
    assert "no gradient has reached the model" in found(result, "no_optimizer_step").message
