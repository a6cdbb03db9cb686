"""vanishing_gradient on synthetic profiles."""

import itertools

import pytest
from judged_runs import Chain, Chains, diagnosed, found, geometric, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

STEPS = range(0, 120, 4)


def with_profile(run: Chain, losses: list[float], norms: list[float]) -> Chain:
    run.losses(losses, every=4)
    for step in STEPS:
        run.gradients(step, norms)
    return run


def test_a_gradient_that_halves_twice_a_layer_vanishes(chain: Chains) -> None:
    run = with_profile(chain(8), stalled(2.3, 120), geometric(8, 2.0))
    result = found(diagnosed(run), "vanishing_gradient")
    assert result.severity is Severity.WARNING
    assert result.layer == "l0"
    assert result.layers == ("l0", "l1", "l2")  # 2^-10 of the head and below
    assert result.first_step == 20
    assert result.last_step == 116
    assert result.value == pytest.approx(2.0)
    assert "l0 gets 16 000× less than l7" in result.message
    assert "select" in result.evidence["query"]


def test_a_millionth_of_the_gradient_is_an_error(chain: Chains) -> None:
    run = with_profile(chain(10), stalled(2.3, 120), geometric(10, 2.5))
    assert found(diagnosed(run), "vanishing_gradient").severity is Severity.ERROR


def test_a_run_that_learns_is_only_told(chain: Chains) -> None:
    run = with_profile(chain(6), learning(120), geometric(6, 2.2))
    assert found(diagnosed(run), "vanishing_gradient").severity is Severity.INFO


def test_a_short_steep_profile_and_a_flat_one_pass(chain: Chains) -> None:
    for bits in (0.0, 0.3, 0.9):
        run = with_profile(chain(8), stalled(2.3, 120), geometric(8, bits))
        assert "vanishing_gradient" in diagnosed(run, detectors=["vanishing_gradient"]).passed


def test_layers_without_any_gradient_are_not_vanishing(chain: Chains) -> None:
    run = with_profile(chain(8), stalled(2.3, 120), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert "vanishing_gradient" in diagnosed(run).passed


def test_output_gradients_show_small_weights(chain: Chains) -> None:
    """Every weight gets the same gradient; only the layers' outputs tell."""
    run = with_profile(chain(8), stalled(2.3, 120), [1e-6] * 8)
    for step in STEPS:
        for index, norm in enumerate(geometric(8, 3.0)):
            run.activation(f"l{index}", "output_grad", step, sumsq=norm**2)
    result = found(diagnosed(run), "vanishing_gradient")
    assert result.value == pytest.approx(3.0)
    assert "outputs" in result.message


def test_fan_in_is_no_slope(chain: Chains) -> None:
    """A funnel from 4,096 to 4 units whose gradients per output are equal."""
    run = chain(0).losses(stalled(2.3, 120), every=4)
    widths = [4 ** (7 - index) for index in range(8)]
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        run.module(f"w{index}", depth=index + 1)
        run.parameter(f"w{index}.weight", shape=(n_out, n_in), depth=index + 1)
        for step in STEPS:
            run.norm(f"w{index}.weight", "gradient", step, n_in**0.5, n=n_in * n_out)
    assert "vanishing_gradient" in diagnosed(run, detectors=["vanishing_gradient"]).passed


def test_four_matrices_are_too_few(chain: Chains) -> None:
    run = with_profile(chain(4), stalled(2.3, 120), geometric(4, 5.0))
    assert (
        "needs at least 5 weight matrices"
        in not_checked(diagnosed(run), "vanishing_gradient").reason
    )


def test_samples_of_the_warm_in_are_too_few(chain: Chains) -> None:
    run = chain(8).losses(stalled(2.3, 120), every=1)
    for step in range(20):
        run.gradients(step, geometric(8, 3.0))
    assert "after step 20" in not_checked(diagnosed(run), "vanishing_gradient").reason


def test_value_clipping_hides_the_gradient(chain: Chains) -> None:
    run = chain(8).losses(stalled(2.3, 120), every=4)
    for step in STEPS:
        for index in range(8):
            run.norm(f"l{index}.weight", "gradient", step, 1.0, n=64, scale=None)
    assert "clip by norm" in not_checked(diagnosed(run), "vanishing_gradient").reason


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e9])
def test_scaling_loss_and_gradients_changes_no_verdict(chain: Chains, factor: float) -> None:
    run = chain(8).losses([factor * loss for loss in stalled(2.3, 120)], every=4)
    for step in STEPS:
        run.gradients(step, geometric(8, 2.0), factor=factor)
    result = diagnosed(run)
    assert [(f.detector, f.severity, f.layer) for f in result.findings] == [
        ("vanishing_gradient", "warning", "l0"),
        ("loss_not_decreasing", "warning", None),
    ]
