"""non_finite, dead_units, saturated_units."""

import json
from collections.abc import Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity
from telemetry.json_values import Json

NAN = float("nan")


def broken(run: Chain, step: int, names: Sequence[str], *, kind: str = "gradient") -> Chain:
    for name in names:
        run.norm(f"{name}.weight", kind, step, 1.0, n=4096, n_nan=5)
    return run


def test_a_finite_run_passes(chain: Chains) -> None:
    run = chain(3).losses(learning(60), every=4)
    assert "non_finite" in diagnosed(run).passed


def test_the_first_layer_with_a_broken_output_is_the_origin(chain: Chains) -> None:
    run = chain(4).losses([*learning(50), *[NAN] * 10], every=1)
    for index in (2, 3):
        run.activation(f"l{index}", "output", 50, n_nan=7)
    broken(run, 50, ("l0", "l1", "l2", "l3"))
    broken(run, 51, ("l0", "l1", "l2", "l3"), kind="weight")
    result = found(diagnosed(run), "non_finite")
    assert result.severity is Severity.ERROR
    assert result.layer == "l2"
    assert result.first_step == 50
    assert "the loss is not finite at step 50, first seen in the output of l2" in result.message


def test_a_broken_batch_is_named(chain: Chains) -> None:
    run = chain(2).losses([*learning(50), *[NAN] * 10], every=1)
    for path, site in (("", "input"), ("l0", "output"), ("l1", "output")):
        run.activation(path, site, 50, n_nan=1)
    assert "batch" in found(diagnosed(run), "non_finite").advice


def test_a_gradient_alone_points_to_the_layer_nearest_the_loss(chain: Chains) -> None:
    run = broken(chain(4).losses(learning(60), every=1), 30, ("l0", "l1", "l2"))
    result = found(diagnosed(run), "non_finite")
    assert result.severity is Severity.WARNING
    assert result.layer == "l2"
    assert "derivative" in result.advice


def test_parameters_that_break_are_an_error(chain: Chains) -> None:
    run = broken(chain(2).losses(learning(60), every=1), 30, ("l0",), kind="weight")
    assert found(diagnosed(run), "non_finite").severity is Severity.ERROR


def test_an_overflow_that_the_scaler_skipped_passes(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate(learning(60)):
        skipped = step in {3, 4}
        run.add("steps", step=step, loss=NAN if skipped else loss, flags=17 | 2 * skipped)
        if skipped:
            broken(run, step, ("l0", "l1"))
    assert "non_finite" in diagnosed(run).passed


def test_a_masked_activation_alone_passes(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=1)
    for step in range(60):
        run.activation("l0", "output", step, n_inf=100)
    assert "non_finite" in diagnosed(run).passed


def test_one_loss_that_is_not_finite_is_a_warning(chain: Chains) -> None:
    losses = learning(60)
    losses[30] = float("inf")
    result = found(diagnosed(chain(2).losses(losses)), "non_finite")
    assert result.severity is Severity.WARNING
    assert result.layer is None


def test_what_is_seen_at_the_next_sample_says_so(chain: Chains) -> None:
    run = chain(2).losses([*learning(45), *[NAN] * 15], every=10)
    broken(run, 50, ("l0", "l1"), kind="weight")
    assert "at step 50, the first sample after it" in found(diagnosed(run), "non_finite").message


def followed(run: Chain, step: int, **payload: Json) -> Chain:
    common: dict[str, Json] = {"step": step, "found_step": step, "how": "observed"}
    text = json.dumps(common | payload)
    run.add("events", step=step, kind="non_finite", severity="error", payload=text)
    return run


def test_what_the_recording_followed_comes_before_what_samples_show(chain: Chains) -> None:
    run = chain(4).losses([*learning(45), *[NAN] * 15], every=10)
    broken(run, 50, ("l0", "l1", "l2", "l3"), kind="weight")
    place = "the output of l1 (log)"
    followed(run, 45, what="output", module="l1", operation="log", place=place)
    result = found(diagnosed(run), "non_finite")
    assert (result.layer, result.first_step, result.severity) == ("l1", 45, Severity.ERROR)
    assert result.message == f"the loss is not finite at step 45, first in {place}"
    assert result.advice == "Add an epsilon to the logarithm, or use log_softmax or logsigmoid."


def test_a_followed_gradient_is_found_in_a_run_that_ends_with_it(chain: Chains) -> None:
    run = chain(2).losses(learning(30), every=10)
    followed(
        run, 29, what="gradient", module="l1", operation=None, place="the gradient of l1.weight"
    )
    result = found(diagnosed(run), "non_finite")
    assert (result.layer, result.first_step, result.severity) == ("l1", 29, Severity.ERROR)


# --- dead_units ---------------------------------------------------------------------------------


def dead(
    run: Chain, layer: str, shares: list[float], *, units: int = 64, site: str = "output"
) -> Chain:
    for index, share in enumerate(shares):
        run.activation(
            layer, site, 7 + 8 * index, n_units=units, n_dead=round(share * units),
            window_samples=512,
        )  # fmt: skip
    return run


def test_units_that_die_block_a_run_that_learns_nothing(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=1)
    dead(dead(run, "a0", [0.2, 0.9, 0.9, 0.9]), "a1", [0.1, 1.0, 1.0, 1.0])
    result = found(diagnosed(run), "dead_units")
    assert result.severity is Severity.ERROR  # the second layer lost all
    assert result.layer == "a0"  # but the first to die is named
    assert result.first_step == 8  # of the window that ends at step 15
    assert result.earliest == 0  # within the window before
    assert result.evidence["jump_step"] == 15
    assert "58 of 64 units of a0 (and 1 more)" in result.message


def test_dead_units_of_a_run_that_learns_are_information(chain: Chains) -> None:
    run = dead(chain(3).losses(learning(60), every=1), "a0", [0.8] * 4)
    assert found(diagnosed(run), "dead_units").severity is Severity.INFO


def test_nine_of_ten_dead_units_warn_in_any_state(chain: Chains) -> None:
    run = dead(chain(3).losses(learning(60), every=1), "a0", [0.95] * 4)
    assert found(diagnosed(run), "dead_units").severity is Severity.WARNING


@pytest.mark.parametrize("shares", [[0.3] * 4, [0.9, 0.9, 0.9, 0.2]])
def test_few_dead_units_and_those_that_wake_pass(chain: Chains, shares: list[float]) -> None:
    run = dead(chain(3).losses(stalled(2.3, 60), every=1), "a0", shares)
    assert "dead_units" in diagnosed(run).passed


def test_the_fixed_batch_of_a_probe_is_no_evidence_of_death_or_saturation(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=1)
    for step in range(7, 60, 8):
        run.activation(
            "a0", "output", step, n_units=64, n_dead=64, n_saturated=64, n_saturated_entries=6400,
            window_samples=512, phase="probe",
        )  # fmt: skip
    result = diagnosed(run)
    assert "in training" in not_checked(result, "dead_units").reason
    assert "in training" in not_checked(result, "saturated_units").reason


def silenced(run: Chain, *, at: int, units: int = 64) -> Chain:
    """A layer that puts out zeros from a step on; its one window is incomplete."""
    run.activation("a0", "output", 1, n_units=units, n_dead=0, window_samples=64)
    for step in range(0, 120, 4):
        n_zero = 6400 if step >= at else 3000
        run.activation("a0", "output", step, n_units=units, n=6400, n_zero=n_zero)
    return run


def test_a_layer_of_zeros_is_dead_without_any_window(chain: Chains) -> None:
    run = silenced(chain(3).losses(learning(120), every=4), at=60)
    result = found(diagnosed(run), "dead_units")
    assert (result.severity, result.layer, result.first_step) == (Severity.WARNING, "a0", 60)
    assert "the last 15 samples" in result.message


@pytest.mark.parametrize(("at", "units"), [(92, 64), (0, 4)])
def test_few_samples_of_zeros_and_few_units_are_not_judged(
    chain: Chains, at: int, units: int
) -> None:
    run = silenced(chain(3).losses(learning(120), every=4), at=at, units=units)
    assert "dead_units" in {entry.detector for entry in diagnosed(run).not_checked}


def test_a_small_layer_is_dead_only_as_a_whole(chain: Chains) -> None:
    run = dead(chain(3).losses(stalled(2.3, 60), every=1), "a0", [0.8] * 4, units=5)
    assert "dead_units" in diagnosed(run).passed


def test_windows_that_are_not_full_do_not_count(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=1)
    for step in range(7):
        run.activation("a0", "output", step, n_units=64, n_dead=64, window_samples=64)
    assert "no window" in not_checked(diagnosed(run), "dead_units").reason
    run = dead(chain(3).losses(stalled(2.3, 60), every=1), "a0", [1.0, 1.0])
    assert "fewer than 3 windows" in not_checked(diagnosed(run), "dead_units").reason


def test_a_functional_activation_is_named_by_the_layer_that_feeds_it(chain: Chains) -> None:
    run = chain(0).losses(stalled(2.3, 60), every=1)
    run.rows["modules"] = []
    run.module("", type_="Net", role="other", depth=0)
    for index in range(3):
        run.module(f"l{index}", depth=index + 1)
        run.parameter(f"l{index}.weight", shape=(64, 64), depth=index + 1)
    dead(run, "", [0.1] * 4, site="relu#0")
    dead(run, "", [1.0] * 4, site="relu#1")
    result = found(diagnosed(run), "dead_units")
    assert result.layer == "l1"
    assert "l1 (relu#1)" in result.evidence["dead_share"]


def test_a_wide_dictionary_is_exempt(chain: Chains) -> None:
    run = chain(0).losses(stalled(1.0, 60), every=1)
    run.module("encoder", depth=1).module("act", type_="ReLU", role="activation", depth=2)
    run.module("decoder", depth=3)
    run.parameter("encoder.weight", shape=(512, 64), depth=1)
    run.parameter("decoder.weight", shape=(64, 512), depth=3)
    dead(run, "act", [0.95] * 4, units=512)
    assert found(diagnosed(run), "dead_units").severity is Severity.INFO


# --- saturated_units ----------------------------------------------------------------------------


def saturated(
    run: Chain,
    layer: str,
    share: float,
    *,
    steps: Sequence[int] = range(24, 60, 2),
    site: str = "output",
) -> Chain:
    for step in steps:
        run.activation(
            layer, site, step, n=6400, n_units=64, n_saturated=round(share * 64),
            n_saturated_entries=round(share * 6400),
        )  # fmt: skip
    return run


def test_saturated_units_hurt_a_run_that_learns_nothing(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2), "a0", 0.7)
    result = found(diagnosed(run), "saturated_units")
    assert (result.severity, result.layer, result.first_step) == (Severity.WARNING, "a0", 24)


@pytest.mark.parametrize(("site", "layer"), [("tanh#", "l"), ("tanh#1", "")])
def test_a_functional_activation_is_named_by_its_layer_if_that_is_sure(
    chain: Chains, site: str, layer: str
) -> None:
    """One behind each of three layers; or one alone, which may be behind any of them."""
    run = chain(3, activation="ReLU").losses(stalled(2.3, 60), every=2)
    run.module("head", depth=9).parameter("head.weight", shape=(10, 64), depth=9)
    if layer:
        for index in range(3):
            saturated(run, "", 0.7 * (index == 1), site=f"{site}{index}")
    else:
        saturated(run, "", 0.7, site=site)
    assert found(diagnosed(run), "saturated_units").layer == ("l1" if layer else "")


def test_nearly_all_units_saturated_is_an_error(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2), "a0", 0.95)
    assert found(diagnosed(run), "saturated_units").severity is Severity.ERROR


def test_entries_saturated_at_the_start_are_told(chain: Chains) -> None:
    run = chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2)
    saturated(run, "a0", 0.8, steps=[0])
    result = found(diagnosed(run), "saturated_units")
    assert "entries" in result.message
    assert result.first_step == 0


def test_saturation_of_a_run_that_learns_is_information(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(learning(60), every=2), "a0", 0.7)
    assert found(diagnosed(run), "saturated_units").severity is Severity.INFO


def test_the_output_of_the_network_may_saturate(chain: Chains) -> None:
    run = saturated(chain(3, activation="Tanh").losses(stalled(2.3, 60), every=2), "a2", 1.0)
    assert "gates or outputs" in not_checked(diagnosed(run), "saturated_units").reason


def test_gates_may_saturate(chain: Chains) -> None:
    run = chain(3).losses(stalled(2.3, 60), every=2).module("cell", type_="Cell", depth=1)
    saturated(run, "cell", 1.0, site="sigmoid#0")
    saturated(run, "cell", 0.1, site="tanh#0")
    assert "saturated_units" in diagnosed(run).passed


def test_a_nan_after_quiet_steps_is_no_consequence_of_large_ones(chain: Chains) -> None:
    """The loss had left its start at first; when the NaN came, nothing had grown for long."""
    losses = [2.3, *stalled(40.0, 49), *stalled(1.8, 50), *[NAN] * 20]
    result = found(diagnosed(chain(2).losses(losses, every=1)), "non_finite")
    assert result.consequence_of is None


def test_a_nan_after_growing_losses_is_their_consequence(chain: Chains) -> None:
    losses = [2.3 * 1.5**step for step in range(40)] + [NAN] * 20
    result = found(diagnosed(chain(2).losses(losses, every=1)), "non_finite")
    assert result.consequence_of == "learning_rate_too_high"


def test_a_broken_batch_has_no_other_cause(chain: Chains) -> None:
    losses = [2.3 * 1.5**step for step in range(40)] + [NAN] * 20
    run = chain(2).losses(losses, every=1).activation("", "input", 40, n_nan=1)
    assert found(diagnosed(run), "non_finite").consequence_of is None


def test_what_was_odd_before_a_nan_is_judged_by_what_the_run_had_learned(chain: Chains) -> None:
    run = chain(2).losses([*learning(60), *[NAN] * 10], every=1)
    diagnosis = diagnosed(run)
    assert diagnosis.state == "diverged"
    assert {f.detector for f in diagnosis.findings} == {"non_finite"}


def test_a_nan_right_after_a_jump_of_the_rate_is_its_consequence(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate([*learning(60), *[NAN] * 10]):
        run.add("steps", step=step, loss=loss, lr=0.1 if step < 59 else 1e6, samples=64, flags=17)
    result = found(diagnosed(run), "non_finite")
    assert result.consequence_of in {"schedule", "learning_rate_too_high"}
