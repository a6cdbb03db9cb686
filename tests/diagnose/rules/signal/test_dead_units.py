"""dead_units."""

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


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
    assert "fewer than 3 complete windows" in not_checked(diagnosed(run), "dead_units").reason


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
