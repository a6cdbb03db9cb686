"""gradient_oscillation."""

from collections.abc import Sequence

import pytest
from judged_runs import (
    WIDTH,
    Chain,
    Chains,
    asked,
    diagnosed,
    found,
    learning,
    not_checked,
    stalled,
)

from telemetry.diagnose.finding import Severity

ID = "gradient_oscillation"
N = WIDTH**2


def cosines(
    run: Chain, values: Sequence[float], *, first: int = 0, every: int = 1, update: float = 0.0
) -> Chain:
    """Cosines with the sample before, of gradients and updates of two layers."""
    for index, value in enumerate(values):
        step = first + index * every
        run.rows["steps"][step]["flags"] = 17
        for layer in range(2):
            name = f"l{layer}.weight"
            run.norm(name, "gradient", step, 1.0, n=N, cos_prev=value - 0.01 * layer)
            run.norm(name, "update", step, 0.01, n=N, cos_prev=update)
    return run


def test_opposed_gradients_of_a_run_that_stands_still_are_told(chain: Chains) -> None:
    run = cosines(chain(2).losses(stalled(2.0, 100), every=1000), [-0.8] * 100)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.INFO
    assert result.value == pytest.approx(-0.805, abs=1e-3)
    assert result.layer == "l1"
    assert (result.first_step, result.last_step) == (50, 99)
    assert "by 4" in result.advice


@pytest.mark.parametrize(
    ("losses", "value", "first"),
    [
        (learning(100), -0.8, 0),  # it learns
        (stalled(2.0, 100), -0.4, 0),  # noise, and steps short of the minimum
        (stalled(2.0, 200), -0.8, 0),  # seen in the first half only
    ],
    ids=["learning", "weak", "early"],
)
def test_other_cosines_are_told_where_asked_for(
    chain: Chains, losses: list[float], value: float, first: int
) -> None:
    run = cosines(chain(2).losses(losses, every=1000), [value] * 80, first=first)
    assert ID in diagnosed(run).passed
    assert asked(run, ID).value == pytest.approx(value - 0.005, abs=1e-3)


def test_samples_of_steps_apart_do_not_oscillate(chain: Chains) -> None:
    run = cosines(chain(2).losses(stalled(2.0, 200), every=1000), [-0.8] * 60, every=3)
    entry = not_checked(diagnosed(run), ID)
    assert entry.absent
    assert "0 pairs of consecutive steps" in entry.reason


def test_an_oscillation_without_a_learning_rate_is_told_what_to_look_at(chain: Chains) -> None:
    turned = cosines(chain(2).losses(stalled(2.0, 100), every=1000), [-0.8] * 100)
    for row in turned.rows["steps"]:
        row["lr"] = None
    assert "the learning rate by 4" in found(diagnosed(turned), ID).advice
