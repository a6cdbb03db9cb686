"""loss_not_decreasing on synthetic curves."""

import numpy as np
import pytest
from judged_runs import Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def test_a_loss_that_stays_is_found_from_the_hundredth_step(chain: Chains) -> None:
    result = found(diagnosed(chain(2).losses(stalled(5.0, 150))), "loss_not_decreasing")
    assert (result.severity, result.first_step, result.last_step) == (Severity.WARNING, 99, 149)


def test_guessing_for_three_hundred_steps_is_an_error(chain: Chains) -> None:
    run = chain(2).losses(stalled(np.log(10), 320), every=10).logits(0).logits(10)
    result = found(diagnosed(run), "loss_not_decreasing")
    assert result.severity is Severity.ERROR
    assert "; random guessing scores 2.30 (ln 10)" in result.message


def test_fewer_steps_than_a_tenth_of_the_plan_say_nothing(chain: Chains) -> None:
    run = chain(2, total_steps=5000).losses(stalled(5.0, 150))
    assert "needs at least 500 steps" in not_checked(diagnosed(run), "loss_not_decreasing").reason


def test_a_warm_up_is_waited_for(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate(stalled(5.0, 150)):
        run.add("steps", step=step, loss=loss, lr=1e-6 * step, flags=1)
    assert "warming up" in not_checked(diagnosed(run), "loss_not_decreasing").reason


def test_a_run_that_learns_passes(chain: Chains) -> None:
    assert "loss_not_decreasing" in diagnosed(chain(2).losses(learning(150))).passed


@pytest.mark.parametrize("tag", ["gan", "rl", "reinforcement-learning"])
def test_a_loss_that_measures_nothing_is_not_judged(chain: Chains, tag: str) -> None:
    run = chain(2, tags=(tag,)).losses(stalled(5.0, 150))
    result = diagnosed(run)
    assert result.state == "unknown"
    assert f"tag {tag}" in not_checked(result, "loss_not_decreasing").reason


def test_adversaries_with_optimizers_of_their_own_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)), backward_calls=3)
    for index in range(2):
        run.event("optimizer", index=index, **{"class": "Adam", "groups": [{"tensors": 1}]})
    result = diagnosed(run)
    assert "adversaries" in not_checked(result, "loss_not_decreasing").reason
    assert {finding.severity for finding in result.findings} <= {Severity.INFO}


def test_adversaries_with_callbacks_of_their_own_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)))
    run.event("shared_loss", models=["Critic"])
    result = diagnosed(run)
    assert "adversaries" in not_checked(result, "loss_not_decreasing").reason
    assert {finding.severity for finding in result.findings} <= {Severity.INFO}


def test_two_optimizers_of_one_loss_are_judged(chain: Chains) -> None:
    run = chain(2).losses(stalled(5.0, 150), backward_calls=1)
    for index in range(2):
        run.event("optimizer", index=index, **{"class": "SGD", "groups": [{"tensors": 1}]})
    result = found(diagnosed(run), "loss_not_decreasing")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(5.0, rel=0.05)


def test_modules_named_as_adversaries_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)))
    run.module("netG", type_="Net", role="other", depth=1)
    run.module("discriminator", type_="Net", role="other", depth=2)
    assert "adversaries" in not_checked(diagnosed(run), "loss_not_decreasing").reason
