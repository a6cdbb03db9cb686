"""poor_initialization on synthetic profiles."""

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, geometric, learning, not_checked, stalled
from synthetic import module_id, tensor_id

from telemetry.diagnose.finding import Severity


@pytest.mark.parametrize(
    ("gain", "state", "told"), [(9, 0.5, True), (9, 0.1, False), (1, 1, False)]
)
def test_recurrent_weights_that_saturate_the_state_are_a_bad_start(
    chain: Chains,
    gain: float,
    state: float,
    told: bool,  # noqa: FBT001
) -> None:
    run = chain(1).losses(learning(120), every=4)
    run.module("rnn", type_="RNN", role="recurrent", depth=0)
    run.parameter("rnn.weight_hh_l0", shape=(32, 32), depth=0, module_type="RNN")
    run.norm("rnn.weight_hh_l0", "weight", 0, gain * 32**0.5, n=1024)
    run.activation("rnn", "output", 0, n=64, sum=0.0, sumsq=64 * state**2)
    run.norm("l0.weight", "weight", 0, 8.0, n=4096)
    result = diagnosed(run)
    assert ("poor_initialization" not in result.passed) == told
    if told:
        finding = found(result, "poor_initialization")
        assert (finding.severity, finding.layer) == (Severity.WARNING, "rnn")
        assert finding.value == pytest.approx(9.0)


def test_a_first_loss_far_above_guessing_is_a_bad_start(chain: Chains) -> None:
    run = chain(3).losses(stalled(40.0, 60), every=4).logits(0, absmax=60.0).logits(4, absmax=60.0)
    result = found(diagnosed(run), "poor_initialization")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(40.0 / np.log(10), rel=0.1)
    assert result.first_step == 0


def test_a_first_loss_of_seven_times_guessing_is_usual_for_some_starts(chain: Chains) -> None:
    run = chain(3).losses(stalled(16.0, 60), every=4).logits(0, absmax=30.0).logits(4, absmax=30.0)
    run.norm("l0.weight", "weight", 0, 8.0, n=4096)
    assert "poor_initialization" in diagnosed(run).passed


def test_a_summed_loss_is_no_bad_start(chain: Chains) -> None:
    """147 is 64 times ln 10: a sum over the batch, for the logits are small."""
    run = chain(3).losses([64 * loss for loss in learning(60)], every=4).logits(0).logits(4)
    assert diagnosed(run).findings == ()


def test_a_weighted_sum_of_losses_has_no_level(chain: Chains) -> None:
    run = chain(3).losses([17 * loss for loss in learning(60)], every=4).logits(0).logits(4)
    run.norm("l0.weight", "weight", 0, 8.0, n=4096)
    assert "poor_initialization" in diagnosed(run).passed


def test_large_inputs_are_named_in_the_advice(chain: Chains) -> None:
    run = chain(3).losses(stalled(40.0, 60), every=4).logits(0, absmax=60.0)
    run.activation("", "input", 0, n=100, sum=0.0, sumsq=100 * 200.0**2)
    assert "Standardise the inputs" in found(diagnosed(run), "poor_initialization").advice


@pytest.mark.parametrize(("bits", "wrong"), [(-1.8, True), (1.2, True), (-0.5, False)])
def test_the_gain_of_the_layers_is_judged(chain: Chains, bits: float, *, wrong: bool) -> None:
    run = chain(8).losses(stalled(2.3, 60), every=4)
    for index in range(8):
        run.activation(f"l{index}", "output", 0, n=100, sum=0.0, sumsq=100 * 4.0 ** (bits * index))
    assert ("poor_initialization" in diagnosed(run).passed) is not wrong


def test_a_steep_gain_warns_even_a_run_that_learns(chain: Chains) -> None:
    run = chain(12).losses(learning(120), every=4)
    for index, norm in enumerate(geometric(12, -1.2)):
        run.activation(f"l{index}", "output_grad", 0, sumsq=norm**2)
    assert found(diagnosed(run), "poor_initialization").severity is Severity.WARNING


@pytest.mark.parametrize(
    ("n_layers", "end", "severity"),
    [(20, 2.3, Severity.WARNING), (12, 2.3, None), (20, 0.8, Severity.INFO)],
)
def test_signals_that_shrink_a_little_in_each_of_many_layers_leave_nothing_for_the_last(
    chain: Chains, n_layers: int, end: float, severity: Severity | None
) -> None:
    """Half a bit a layer: a thousandth is left after 20 layers, and a 45th after 12."""
    run = chain(n_layers).losses(learning(120, end=end), every=4)
    for index in range(n_layers):
        spread = 100 * 4.0 ** (-index / 2)
        run.activation(f"l{index}", "output", 0, n=100, sum=0.0, sumsq=spread)
    result = diagnosed(run, detectors=["poor_initialization"])
    assert [finding.severity for finding in result.findings] == [severity] * bool(severity)


def with_gain(run: Chain, gain: float, *, bits: float, passed_back: float = 0.0) -> Chain:
    """Matrices of 64 x 64, whose norm is 8 times the gain.

    Args:
        run: A chain of layers with these matrices.
        gain: RMS x sqrt(fan-in) of each.
        bits: log2 of the standard deviation of every pre-activation.
        passed_back: Bits by which output gradients shrink at each layer toward the input.
    """
    for index, norm in enumerate(geometric(run.n_layers, passed_back)):
        run.norm(f"l{index}.weight", "weight", 0, 8 * gain, n=4096)
        run.activation(f"l{index}", "output", 0, n=100, sum=0.0, sumsq=100 * 4.0**bits)
        run.activation(f"l{index}", "output_grad", 0, sumsq=norm**2)
    return run


@pytest.mark.parametrize("losses", [learning(120), [-loss for loss in stalled(2.3, 120)]])
def test_weights_beyond_any_initialisation_warn_whatever_the_loss_does(
    chain: Chains, losses: list[float]
) -> None:
    run = with_gain(chain(2).losses(losses, every=4), 9.0, bits=4.0)
    result = found(diagnosed(run), "poor_initialization")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(9.0)
    assert result.layers == ("l0", "l1")


@pytest.mark.parametrize(("gain", "bits"), [(5.0, 4.0), (9.0, 0.5)])
def test_trained_weights_and_those_that_the_forward_scales_pass(
    chain: Chains, gain: float, bits: float
) -> None:
    run = with_gain(chain(2).losses(learning(120), every=4), gain, bits=bits)
    assert "poor_initialization" in diagnosed(run).passed


def test_large_weights_under_a_normalisation_are_information(chain: Chains) -> None:
    run = with_gain(chain(2).losses(learning(120), every=4), 9.0, bits=4.0)
    run.module("norm", type_="LayerNorm", role="norm", depth=1)
    assert found(diagnosed(run), "poor_initialization").severity is Severity.INFO


@pytest.mark.parametrize(("end", "severity"), [(2.9, Severity.WARNING), (1.0, Severity.INFO)])
def test_large_weights_that_cost_the_run_warn_in_spite_of_a_normalisation(
    chain: Chains, end: float, severity: Severity
) -> None:
    """From ten times the loss of guessing to no less than that, or below."""
    run = chain(2).losses(learning(120, start=23.0, end=end), every=4).logits(0, absmax=40.0)
    with_gain(run, 9.0, bits=4.0).module("norm", type_="LayerNorm", role="norm", depth=9)
    assert found(diagnosed(run), "poor_initialization").severity is severity


@pytest.mark.parametrize(
    ("gain", "passed_back", "end", "expected"),
    [
        (0.02, 4.0, 2.3, Severity.WARNING),
        (0.08, 4.0, 2.3, Severity.WARNING),
        (0.12, 4.0, 2.3, None),
        (0.02, 4.0, 1.0, Severity.WARNING),
        (0.02, 4.0, 0.1, Severity.INFO),  # nearly all was learned
        (0.03, 4.0, 1.0, Severity.INFO),  # weights grow out of it
        (0.02, 1.7, 1.0, None),  # the forward makes up for them
    ],
)
def test_small_weights_are_told_where_the_gradient_shrinks_with_them(
    chain: Chains, gain: float, passed_back: float, end: float, expected: Severity | None
) -> None:
    run = chain(3).losses(learning(120, end=end), every=4)
    with_gain(run, gain, bits=-3.0, passed_back=passed_back)
    result = diagnosed(run, detectors=["poor_initialization"])
    assert [finding.severity for finding in result.findings] == [expected] * bool(expected)


def test_one_large_head_is_no_bad_start(chain: Chains) -> None:
    run = with_gain(chain(3).losses(learning(120), every=4), 0.6, bits=2.0)
    run.parameter("head.weight", shape=(64, 64), depth=9)
    run.norm("head.weight", "weight", 0, 800.0, n=4096)
    assert "poor_initialization" in diagnosed(run).passed


def one_large(run: Chain, gain: float, *, saturated: float, bits: float = 4.0) -> Chain:
    """A chain of tanh layers of which the second has large weights, and saturated entries."""
    with_gain(run, 0.6, bits=0.0)
    for row in run.rows["tensor_stats"]:
        if row["tensor_id"] == tensor_id("l1.weight", "weight"):
            row["sumsq"] = (8 * gain) ** 2
    for row in run.rows["module_stats"]:
        if row["module_id"] == module_id("l1") and row["site"] == "output":
            row["sumsq"] = 100 * 4.0**bits
    run.activation(
        "a1", "output", 0, n_units=64, n_saturated=0, n_saturated_entries=round(saturated * 6400)
    )
    return run


def test_a_layer_of_large_weights_that_saturates_what_follows_is_named(chain: Chains) -> None:
    run = chain(4, activation="Tanh").losses(learning(120), every=4)
    result = found(diagnosed(one_large(run, 40.0, saturated=0.9)), "poor_initialization")
    assert (result.severity, result.layers) == (Severity.WARNING, ("l1",))
    assert result.value == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("gain", "saturated", "bits"), [(5.0, 0.9, 4.0), (40.0, 0.1, 4.0), (40.0, 0.9, 0.5)]
)
def test_large_weights_alone_or_saturation_alone_pass(
    chain: Chains, gain: float, saturated: float, bits: float
) -> None:
    run = chain(4, activation="Tanh").losses(learning(120), every=4)
    one_large(run, gain, saturated=saturated, bits=bits)
    assert "poor_initialization" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("gain", "severity"), [(0.6, None), (9.0, Severity.INFO), (30.0, Severity.WARNING)]
)
def test_a_high_first_loss_is_traced_to_the_layer_of_large_weights(
    chain: Chains, gain: float, severity: Severity | None
) -> None:
    """Seven times guessing, in a run that learns."""
    run = chain(4).losses(learning(120, start=16.0), every=4)
    run.logits(0, absmax=30.0).logits(4, absmax=30.0)
    one_large(run, gain, saturated=0.0)
    result = diagnosed(run, detectors=["poor_initialization"]).findings
    assert [finding.severity for finding in result] == [severity] * bool(severity)
    assert all(finding.layers == ("l1",) for finding in result)


def test_a_high_first_loss_is_traced_to_an_embedding(chain: Chains) -> None:
    run = chain(2).losses(learning(120, start=16.0, end=2.0), every=4)
    run.logits(0, absmax=30.0).logits(4, absmax=30.0)
    run.parameter("words.weight", shape=(100, 64), depth=1, module_type="Embedding")
    run.norm("words.weight", "weight", 0, 80.0 * 100, n=6400)
    result = found(diagnosed(run), "poor_initialization")
    assert (result.severity, result.layer) == (Severity.WARNING, "words")


def symmetric(run: Chain, *, gradient: float) -> Chain:
    for step in range(3):
        for index in range(3):
            hidden = index < 2
            run.norm(f"l{index}.weight", "weight", step, 1.0, n=4096, rows_equal=hidden)
            run.norm(f"l{index}.weight", "gradient", step, gradient, n=4096, rows_equal=hidden)
    return run


def test_equal_rows_with_equal_gradients_stay_copies(chain: Chains) -> None:
    run = symmetric(chain(3).losses(learning(60), every=1), gradient=0.1)
    result = found(diagnosed(run), "poor_initialization")
    assert result.severity is Severity.ERROR
    assert result.layers == ("l0", "l1")


def test_equal_rows_with_different_gradients_pass(chain: Chains) -> None:
    run = chain(3).losses(learning(60), every=1)
    for step in range(3):
        run.norm("l0.weight", "weight", step, 0.0, n=4096, rows_equal=True)
        run.norm("l0.weight", "gradient", step, 0.1, n=4096, rows_equal=False)
    assert "poor_initialization" in diagnosed(run).passed


def test_zero_weights_stop_every_gradient(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=1)
    for step in range(3):
        for index in range(3):
            run.norm(f"l{index}.weight", "weight", step, 0.0, n=4096)
            run.norm(f"l{index}.weight", "gradient", step, 0.0, n=4096)
    result = found(diagnosed(run), "poor_initialization")
    assert result.severity is Severity.ERROR
    assert "no gradient reaches" in result.message


def test_a_zero_head_lets_gradients_through_after_a_step(chain: Chains) -> None:
    run = chain(3).losses(learning(60), every=1)
    for step in range(3):
        for index in range(3):
            run.norm(f"l{index}.weight", "weight", step, float(index < 2), n=4096)
            value = 0.1 if step else float(index == 2)
            run.norm(f"l{index}.weight", "gradient", step, value, n=4096)
    assert "poor_initialization" in diagnosed(run).passed


def test_a_resumed_run_has_no_start(chain: Chains) -> None:
    run = chain(3)
    for step, loss in enumerate(learning(60), start=500):
        run.add("steps", step=step, loss=loss, lr=0.1, flags=1)
    assert "step 0" in not_checked(diagnosed(run), "poor_initialization").reason


def test_a_start_of_which_nothing_was_sampled_is_not_checked(chain: Chains) -> None:
    diagnosis = diagnosed(chain(3).losses(learning(200)))
    assert (
        "no weight, gradient or activation" in not_checked(diagnosis, "poor_initialization").reason
    )
