"""non_finite."""

import json
from collections.abc import Sequence

from judged_runs import Chain, Chains, diagnosed, found, learning, stalled

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
