"""no_optimizer_step, on recordings that do not hold what it reads."""

from judged_runs import Chains, diagnosed, learning, not_checked


def test_a_recording_without_its_columns_is_not_checked(chain: Chains) -> None:
    """Older versions recorded neither steps of optimizers nor whether weights moved."""
    reason = not_checked(diagnosed(chain(3).losses(learning(60), every=1)), "no_optimizer_step")
    assert "record again" in reason.reason
