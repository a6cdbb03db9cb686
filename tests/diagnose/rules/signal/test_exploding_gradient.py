"""exploding_gradient on synthetic profiles."""

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, geometric, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

STEPS = range(0, 120, 4)


def with_norms(run: Chain, losses: list[float], norms: list[float]) -> Chain:
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        run.add("steps", step=step, loss=loss, lr=0.1, samples=64, flags=17, grad_norm_total=norm)
        run.gradients(step, [norm] * run.n_layers)
    return run


def test_a_jump_with_an_effect_explodes(chain: Chains) -> None:
    losses = [*stalled(2.3, 60), *stalled(30.0, 10)]
    norms = [1.0] * 58 + [100.0] * 12
    result = found(diagnosed(with_norms(chain(2), losses, norms)), "exploding_gradient")
    assert result.severity is Severity.WARNING
    assert result.first_step == 58
    assert "× its start" in result.message


def test_a_jump_into_nan_is_an_error(chain: Chains) -> None:
    losses = [*stalled(2.3, 60), *[float("nan")] * 10]
    norms = [1.0] * 58 + [100.0] * 4 + [float("nan")] * 8
    result = found(diagnosed(with_norms(chain(2), losses, norms)), "exploding_gradient")
    assert result.severity is Severity.ERROR


def test_a_jump_without_effect_passes(chain: Chains) -> None:
    norms = [1.0] * 58 + [100.0] * 12
    assert "exploding_gradient" in diagnosed(with_norms(chain(2), learning(70), norms)).passed


def test_one_heavy_batch_is_no_explosion(chain: Chains) -> None:
    losses, norms = stalled(2.3, 80), [1.0] * 80
    losses[60], norms[60] = 50.0, 900.0
    losses[70], norms[70] = 50.0, 900.0
    assert "exploding_gradient" in diagnosed(with_norms(chain(2), losses, norms)).passed


def test_constant_large_norms_pass(chain: Chains) -> None:
    assert (
        "exploding_gradient" in diagnosed(with_norms(chain(2), stalled(2.3, 80), [1e9] * 80)).passed
    )


def test_growth_over_depth_explodes_a_run_that_learns_nothing(chain: Chains) -> None:
    run = chain(8).losses(stalled(2.3, 120), every=4)
    for step in STEPS:
        run.gradients(step, [1.0] * 8)
        for index, norm in enumerate(geometric(8, -1.0)):
            run.activation(f"l{index}", "output_grad", step, sumsq=norm**2)
    result = found(diagnosed(run, detectors=["exploding_gradient"]), "exploding_gradient")
    assert result.severity is Severity.WARNING
    assert result.layer == "l0"
    assert result.value == pytest.approx(1.0)


def test_a_recurrent_layer_that_gets_thousands_of_times_the_gradient_explodes(
    chain: Chains,
) -> None:
    run = chain(1).losses(stalled(2.1, 120), every=4)
    run.module("rnn", type_="RNN", role="recurrent", depth=0)
    run.parameter("rnn.weight_hh_l0", shape=(32, 32), depth=0, module_type="RNN")
    for step in STEPS:
        run.norm("rnn.weight_hh_l0", "gradient", step, 1e5, n=1024)
        run.norm("l0.weight", "gradient", step, 1.0, n=4096)
    result = diagnosed(run)
    assert found(result, "poor_initialization").layer == "rnn"
    assert found(result, "exploding_gradient").consequence_of == "poor_initialization"


def test_few_norms_say_nothing(chain: Chains) -> None:
    run = with_norms(chain(2), stalled(2.3, 8), [1.0] * 8)
    assert "at least 12 are needed" in not_checked(diagnosed(run), "exploding_gradient").reason


def falling(run: Chain, losses: list[float], *, norm_growth: float) -> Chain:
    """A run whose gradient norm grows evenly by a factor from the first step to the last."""
    run.gradients(0, [1.0] * 3)
    for step, loss in enumerate(losses):
        norm = norm_growth ** (step / len(losses))
        run.add("steps", step=step, loss=loss, lr=0.1, samples=64, flags=17, grad_norm_total=norm)
    return run


def runaway(n: int = 200, *, end: float = 1e5) -> list[float]:
    """From about 1 down to minus `end`, each step by the same factor."""
    return [1.0 - end ** (step / n) + 0.1 * (-1) ** step for step in range(n)]


def test_a_loss_without_a_lower_bound_runs_away(chain: Chains) -> None:
    result = found(diagnosed(falling(chain(3), runaway(), norm_growth=1e4)), "exploding_gradient")
    assert result.severity is Severity.WARNING
    assert "part of the loss has no lower bound" in result.message
    assert result.value == pytest.approx(np.log2(1e4) * 0.9, rel=0.02)


@pytest.mark.parametrize(
    ("losses", "norm_growth"),
    [
        (runaway(), 10.0),  # the gradient keeps its size
        (runaway(end=100.0), 1e4),  # as far as densities and critics come
        ([1 - 1e5 * (1 - np.exp(-step / 20)) for step in range(200)], 1e4),  # it slows down
    ],
)
def test_a_negative_loss_that_is_learned_does_not_run_away(
    chain: Chains, losses: list[float], norm_growth: float
) -> None:
    diagnosis = diagnosed(
        falling(chain(3), losses, norm_growth=norm_growth), detectors=["exploding_gradient"]
    )
    assert "exploding_gradient" in diagnosis.passed
