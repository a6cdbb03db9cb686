"""input_scale on synthetic statistics of inputs."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity
from telemetry.format.manifest import Status

ID = "input_scale"
N = 640


def with_inputs(
    run: Chain,
    losses: list[float],
    *,
    std: float = 1.0,
    features: Sequence[float] = (1.0,) * 10,
    evaluated: Sequence[float] = (),
    first_output: float | None = None,
    val_loss: float | None = None,
) -> Chain:
    """Inputs of mean zero in training, and at each evaluation one with its own deviation."""
    run.losses(losses, every=4)
    profile = np.array(features, dtype="<f4")
    for step in range(0, 120, 4):
        squares = N * std**2
        shown = {"n": N, "n_profile": profile.size, "profile": profile.tobytes()}
        run.activation("", "input", step, sumsq=squares, **shown)
    output = std if first_output is None else first_output
    run.activation("l0", "output", 0, n=N, sumsq=N * output**2)
    for index, own in enumerate(evaluated):
        step = 40 * index + 39
        run.activation("", "input", step, phase="eval", training=False, n=N, sumsq=N * own**2)
        if val_loss is not None:
            run.metric("val_loss", {step: val_loss})
    return run


def read_by_recurrence(run: Chain, *, std: float) -> Chain:
    """A recurrent layer reads them with a gain of 0.1; behind it signals are small."""
    run.module("rnn", type_="GRU", role="recurrent", depth=0)
    run.parameter("rnn.weight_hh_l0", shape=(96, 32), depth=0, module_type="GRU")
    run.parameter("rnn.weight_ih_l0", shape=(96, 4), depth=0, module_type="GRU")
    run.norm("rnn.weight_ih_l0", "weight", 0, 0.1 * 96**0.5, n=384)
    return with_inputs(run, learning(120), std=std, first_output=0.5)


@pytest.mark.parametrize(("std", "expected"), [(100.0, Severity.WARNING), (60.0, Severity.INFO)])
def test_inputs_that_saturate_recurrent_gates_warn_a_run_that_learns(
    chain: Chains, std: float, expected: Severity
) -> None:
    assert found(diagnosed(read_by_recurrence(chain(2), std=std)), ID).severity is expected


def test_inputs_of_thousands_warn_a_run_that_learns(chain: Chains) -> None:
    run = with_inputs(chain(3), learning(120), std=2000.0)
    assert found(diagnosed(run), ID).severity is Severity.WARNING


@pytest.mark.parametrize(("std", "limit"), [(24.0, 16.0), (255.0, 16.0), (1 / 255, 1 / 64)])
def test_a_scale_at_which_the_run_stalls(chain: Chains, std: float, limit: float) -> None:
    result = found(diagnosed(with_inputs(chain(3), stalled(2.3, 120), std=std)), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(std)
    assert result.threshold == limit
    assert result.first_step == 0


def test_a_run_that_learns_from_it_is_only_told(chain: Chains) -> None:
    result = found(diagnosed(with_inputs(chain(3), learning(120), std=255.0)), ID)
    assert result.severity is Severity.INFO


def test_a_run_that_stopped_half_way_is_warned(chain: Chains) -> None:
    losses = [*learning(60, end=1.0), *stalled(1.0, 180, noise=0.03)]
    run = with_inputs(chain(3), losses, std=24.0)
    assert found(diagnosed(run), ID).severity is Severity.WARNING
    assert found(diagnosed(run, status=Status.RUNNING), ID).severity is Severity.INFO


@pytest.mark.parametrize("std", [12.0, 1 / 32])
def test_a_moderate_scale_passes(chain: Chains, std: float) -> None:
    run = with_inputs(chain(3), stalled(2.3, 120), std=std)
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_a_network_that_divides_or_normalises_passes(chain: Chains) -> None:
    run = with_inputs(chain(3), stalled(2.3, 120), std=255.0, first_output=0.6)
    assert ID in diagnosed(run, detectors=[ID]).passed
    run = with_inputs(chain(3), stalled(2.3, 120), std=255.0)
    run.module("norm", type_="BatchNorm1d", depth=0, role="norm")
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_features_of_very_different_scales(chain: Chains) -> None:
    """The fifth is constant and does not count; a quarter of the other nine is below 0.01."""
    features = [1e-3, 1e-3, 1e-2, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1e3]
    result = found(diagnosed(with_inputs(chain(3), stalled(2.3, 120), features=features)), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(1e5)
    assert "feature 9" in result.message


def test_one_small_feature_among_many_is_no_matter(chain: Chains) -> None:
    run = with_inputs(chain(3), stalled(2.3, 120), features=[1e-4, *[1.0] * 9])
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_evaluation_reads_inputs_of_another_scale(chain: Chains) -> None:
    """In a run that learns: the loss of training does not see it."""
    run = with_inputs(chain(3), learning(120), evaluated=[8.0, 8.0], val_loss=5.0)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(3.0)
    assert result.unit == "bits"
    assert result.first_step == 39


def test_an_evaluation_as_good_as_training_is_only_told(chain: Chains) -> None:
    run = with_inputs(chain(3), learning(120, end=0.1), evaluated=[8.0, 8.0], val_loss=0.12)
    assert found(diagnosed(run), ID).severity is Severity.INFO


def test_a_scale_that_hurts_is_told_before_a_difference_that_does_not(chain: Chains) -> None:
    run = with_inputs(
        chain(3), learning(120, end=0.1), std=2000.0, evaluated=[8.0, 8.0], val_loss=0.12
    )
    result = found(diagnosed(run), ID)
    assert (result.severity, result.unit) == (Severity.WARNING, "rms")


@pytest.mark.parametrize("evaluated", [(8.0,), (3.0, 3.0), (1.0, 8.0)])
def test_one_evaluation_or_a_small_or_unsteady_difference_passes(
    chain: Chains, evaluated: tuple[float, ...]
) -> None:
    run = with_inputs(chain(3), learning(120), evaluated=evaluated)
    assert ID in diagnosed(run, detectors=[ID]).passed


def test_tokens_are_not_checked(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 120), every=4)
    assert "floating-point" in not_checked(diagnosed(run), ID).reason


def towards(run: Chain, losses: list[float], *, reached: float, square: float = 4e8) -> Chain:
    """Targets of a mean of 20,000, and answers of the last layer that rise to a value."""
    run.losses(losses, every=4)
    for step in range(0, 120, 4):
        mean = {"sum": 64 * 2e4, "sumsq": 64 * square}
        run.activation("", "target", step, n=64, loss_op="mse_loss", **mean)
        answer = reached * (step + 4) / 120
        run.activation("l1", "output", step, n=64, sumsq=64 * answer**2)
    return run


def test_targets_that_the_answers_never_come_near_are_out_of_scale(chain: Chains) -> None:
    result = found(diagnosed(towards(chain(2), stalled(4e8, 120), reached=80.0)), ID)
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(2e4)
    assert "targets" in result.advice


def test_a_mean_that_is_far_at_the_end_is_told_although_the_loss_falls(chain: Chains) -> None:
    """From 4.25e8, of which the targets vary by 2.5e7."""
    losses = [(2e4 - 4e3 * (step + 4) / 120) ** 2 + 2.5e7 for step in range(120)]
    run = towards(chain(2), losses, reached=4e3, square=4.25e8)
    assert found(diagnosed(run), ID).severity is Severity.WARNING


def test_large_targets_that_are_reached_or_learnt_pass(chain: Chains) -> None:
    """A mean that is answered, with nothing learnt beyond it, is no matter of scale."""
    run = towards(chain(2), stalled(4e8, 120), reached=1.9e4)
    assert not diagnosed(run, detectors=[ID]).findings
    run = towards(chain(2), learning(120, start=4e8, end=1e7), reached=80.0)
    assert not diagnosed(run, detectors=[ID]).findings


@pytest.mark.parametrize(("target", "is_told"), [(2e4, True), (12.0, False)])
def test_targets_of_a_loss_by_hand_are_known_by_the_first_of_each_batch(
    chain: Chains, *, target: float, is_told: bool
) -> None:
    run = chain(2).losses(stalled(target**2, 120), every=4)
    for step in range(0, 120, 4):
        run.activation("l1", "output", step, n=64, sumsq=64 * 0.25)
        run.add(
            "loss_graphs", step=step, call=0, pair=0, path="", operation="sub", head="",
            is_output=True, is_made=False, is_broadcast=False, n_outputs=1, n=64,
            output_shape="64", target_shape="64", first_label=target,
        )  # fmt: skip
    result = diagnosed(run, detectors=[ID])
    assert [f.value for f in result.findings] == ([target] if is_told else [])
