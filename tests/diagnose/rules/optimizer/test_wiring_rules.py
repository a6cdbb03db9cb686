"""gradients_not_cleared, loss_multiplier, loss_scaler, train_eval_mode."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

# --- gradients_not_cleared ----------------------------------------------------------------------


def compared(run: Chain, shares: Mapping[int, float]) -> Chain:
    for step, loss in enumerate(learning(60)):
        run.add("steps", step=step, loss=loss, flags=17, stale_grad_share=shares.get(step))
    return run


def test_gradients_that_stay_are_an_error_in_a_run_that_learns(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 1.0))
    result = found(diagnosed(run), "gradients_not_cleared")
    assert (result.severity, result.first_step, result.last_step) == (Severity.ERROR, 1, 56)
    assert "12 of 12 comparisons" in result.message


def test_one_parameter_of_eight_that_is_not_cleared_is_told_as_a_share(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 0.125))
    result = found(diagnosed(run), "gradients_not_cleared")
    assert result.value == pytest.approx(0.125)
    assert "not those of one module" in result.advice


def test_cleared_gradients_pass(chain: Chains) -> None:
    run = compared(chain(2), dict.fromkeys(range(1, 60, 5), 0.0))
    assert "gradients_not_cleared" in diagnosed(run).passed


def test_two_steps_that_share_a_gradient_pass(chain: Chains) -> None:
    """A loop that went on after an exception, say."""
    run = compared(chain(2), {step: float(step in {1, 26}) for step in range(1, 60, 5)})
    assert "gradients_not_cleared" in diagnosed(run).passed


def test_gradients_cleared_in_every_second_step_are_found(chain: Chains) -> None:
    run = compared(chain(2), {step: float(step % 2) for step in range(1, 60)})
    assert found(diagnosed(run), "gradients_not_cleared").first_step == 1


def test_too_few_comparisons_are_not_checked(chain: Chains) -> None:
    run = compared(chain(2), {1: 1.0, 2: 1.0})
    assert "2 comparisons" in not_checked(diagnosed(run), "gradients_not_cleared").reason


# --- loss_multiplier ----------------------------------------------------------------------------


def accumulated(
    run: Chain,
    losses: Sequence[float],
    *,
    k: int = 4,
    multiple: float,
    factor: float | None,
    growth: float = 12.0,
    optimizer: str = "SGD",
    **extra: object,
) -> Chain:
    payload = json.dumps({"index": 0, "class": optimizer, "groups": [{}]})
    run.add("events", step=0, kind="optimizer", severity="info", payload=payload)
    for step, loss in enumerate(losses):
        row: dict[str, object] = {
            "loss": loss, "root_sum": multiple * loss, "accumulation": k, "backward_calls": k,
            "flags": 17, "root_factor_sum": factor, "grad_norm_total": growth**0.5,
            "micro_grad_sumsq": 1.0,
        }  # fmt: skip
        run.add("steps", step=step, **{**row, **extra})
    return run


def test_losses_that_are_not_divided_are_a_warning_in_a_run_that_fails(chain: Chains) -> None:
    run = accumulated(chain(2), stalled(2.3, 60), multiple=4.0, factor=4.0)
    result = found(diagnosed(run), "loss_multiplier")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(4.0)
    assert "none of the 4 losses" in result.message


def test_losses_that_are_divided_twice_are_found(chain: Chains) -> None:
    run = accumulated(chain(2), stalled(2.3, 60), multiple=0.25, factor=0.25)
    assert "by 4 twice" in found(diagnosed(run), "loss_multiplier").message


@pytest.mark.parametrize(
    ("optimizer", "extra"), [("AdamW", {}), ("SGD", {"clip_coefficient": 0.01})]
)
def test_where_the_size_does_not_count_it_is_information(
    chain: Chains, optimizer: str, extra: dict[str, object]
) -> None:
    run = accumulated(
        chain(2), stalled(2.3, 60), multiple=4.0, factor=4.0, optimizer=optimizer, **extra
    )
    assert found(diagnosed(run), "loss_multiplier").severity is Severity.INFO


def test_a_run_that_learns_chose_its_rate_with_it(chain: Chains) -> None:
    run = accumulated(chain(2), learning(60), multiple=4.0, factor=4.0)
    assert found(diagnosed(run), "loss_multiplier").severity is Severity.INFO


@pytest.mark.parametrize(
    ("multiple", "factor", "growth"),
    [
        (1.0, 1.0, 12.0),  # divided, and reported before it
        (4.0, 1.0, 12.0),  # divided, and reported after it
        (4.0, 0.02, 12.0),  # sums over a number of tokens
        (1.0, 4.0, 12.0),  # a sum, reported as a sum
        (0.25, 1.0, 12.0),  # divided, and the sum of the losses is reported
        (4.0, 4.0, 1.2),  # passes that do not add up
        (4.0, float("nan"), 12.0),  # a constant that cannot be read
    ],
)
def test_other_ways_to_accumulate_pass(
    chain: Chains, multiple: float, factor: float, growth: float
) -> None:
    losses = stalled(2.3, 60)
    run = accumulated(chain(2), losses, multiple=multiple, factor=factor, growth=growth)
    assert "loss_multiplier" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"flags": 16}, "telemetry.step(loss=loss)"),
        ({"root_factor_sum": None}, "no sampled step"),
        ({"backward_calls": 5}, "no sampled step"),
        ({"optimizer": "SAM"}, "SAM evaluates a batch several times"),
    ],
)
def test_what_is_not_known_is_not_checked(
    chain: Chains, extra: dict[str, object], reason: str
) -> None:
    row = {"multiple": 4.0, "factor": 4.0, **extra}
    run = accumulated(chain(2), stalled(2.3, 60), **row)  # type: ignore[arg-type]
    assert reason in not_checked(diagnosed(run), "loss_multiplier").reason


# --- loss_scaler --------------------------------------------------------------------------------


def scaled(
    run: Chain,
    losses: Sequence[float],
    *,
    refused: Callable[[int], bool] = lambda step: step < 6,
    scale: Callable[[int], float] = lambda _step: 1024.0,
    early: bool = False,
    clip: float | None = None,
    optimizer: str = "SGD",
) -> Chain:
    payload = json.dumps({"index": 0, "class": optimizer, "groups": [{}]})
    run.add("events", step=0, kind="optimizer", severity="info", payload=payload)
    for step, loss in enumerate(losses):
        flags = 17 | 2 * refused(step) | 4 * early
        run.add(
            "steps", step=step, loss=loss, flags=flags, loss_scale=scale(step),
            clip_coefficient=clip,
        )  # fmt: skip
    return run


def test_a_scaler_that_refuses_the_first_steps_and_one_now_and_then_passes(chain: Chains) -> None:
    run = scaled(chain(2), stalled(2.3, 300), refused=lambda step: step < 20 or step % 50 == 0)
    assert "loss_scaler" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("optimizer", "severity"), [("SGD", Severity.ERROR), ("AdamW", Severity.WARNING)]
)
def test_clipping_before_unscaling_is_found(
    chain: Chains, optimizer: str, severity: Severity
) -> None:
    run = scaled(chain(2), learning(60), early=True, clip=0.001, optimizer=optimizer)
    result = found(diagnosed(run), "loss_scaler")
    assert result.severity is severity
    assert result.value == pytest.approx(1024.0)
    assert "unscale_" in result.advice


@pytest.mark.parametrize(("clip", "scale"), [(1.0, 1024.0), (0.5, 1.0)])
def test_clipping_that_changes_nothing_passes(chain: Chains, clip: float, scale: float) -> None:
    run = scaled(chain(2), learning(60), early=True, clip=clip, scale=lambda _: scale)
    assert "loss_scaler" in diagnosed(run).passed


def test_steps_that_are_refused_at_any_scale_are_an_error(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 60), refused=lambda step: step >= 25,
        scale=lambda step: 2.0 ** (16 - max(0, step - 25)),
    )  # fmt: skip
    result = found(diagnosed(run), "loss_scaler")
    assert (result.severity, result.first_step, result.value) == (Severity.ERROR, 25, 35.0)


def test_a_burst_from_a_huge_scale_at_the_end_of_a_short_run_passes(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 30), refused=lambda _: True, scale=lambda s: 2.0 ** (60 - s)
    )
    assert "loss_scaler" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("losses", "every", "severity"),
    [
        (stalled(2.3, 300), 8, Severity.WARNING),
        (learning(300), 8, Severity.INFO),
        (learning(300), 2, Severity.WARNING),
    ],
)
def test_one_step_in_eight_refused_counts_in_a_run_that_fails(
    chain: Chains, losses: Sequence[float], every: int, severity: Severity
) -> None:
    run = scaled(chain(2), losses, refused=lambda step: step % every == 0)
    assert found(diagnosed(run), "loss_scaler").severity is severity


def test_a_scale_that_fell_below_one_is_told(chain: Chains) -> None:
    run = scaled(
        chain(2), stalled(2.3, 100), refused=lambda step: step < 21,
        scale=lambda step: 2.0 ** (16 - min(21, step)),
    )  # fmt: skip
    result = found(diagnosed(run), "loss_scaler")
    assert (result.severity, result.value) == (Severity.WARNING, 2.0**-5)


def test_a_scaler_for_bfloat16_is_information(chain: Chains) -> None:
    run = scaled(chain(2), learning(60))
    run.activation("l0", "output", 3, dtype="bfloat16")
    assert found(diagnosed(run), "loss_scaler").severity is Severity.INFO


def test_without_a_scaler_it_is_not_checked(chain: Chains) -> None:
    run = chain(2).losses(learning(60))
    assert "GradScaler" in not_checked(diagnosed(run), "loss_scaler").reason


def test_where_a_weight_is_not_finite_that_is_the_root(chain: Chains) -> None:
    run = scaled(
        chain(2), [*learning(30), *[float("nan")] * 40], refused=lambda step: step >= 30,
        scale=lambda step: 2.0 ** (16 - max(0, step - 30)),
    )  # fmt: skip
    run.norm("l0.weight", "weight", 29, 1.0, n=4096, n_nan=5)
    assert found(diagnosed(run), "loss_scaler").consequence_of == "non_finite"


# --- train_eval_mode ----------------------------------------------------------------------------


def modes(
    run: Chain,
    training: Mapping[int, bool],
    evaluations: Mapping[int, bool],
    *,
    norm: bool | None = None,
    with_norm: bool = True,
    metric: str = "val_loss",
) -> Chain:
    """Modes of `l0` and `l1` at sampled steps and evaluations, and of a BatchNorm or a dropout."""
    layer, kind = ("norm", "BatchNorm1d") if with_norm else ("drop", "Dropout")
    attributes = (
        '{"eps": 1e-05, "track_running_stats": true}' if with_norm else '{"p": 0.1, "x": 1}'
    )
    run.module(layer, type_=kind, depth=20, role="norm")
    run.rows["modules"][-1]["attributes"] = attributes
    run.losses(learning(60), every=5)
    for phase, flags in (("train", training), ("eval", evaluations)):
        for step, flag in flags.items():
            own = norm if norm is not None and phase == "train" else flag
            for path, mode in (("l0", flag), ("l1", flag), (layer, own)):
                run.activation(path, "output", step, phase=phase, training=mode)
    run.metric(metric, dict.fromkeys(evaluations, 1.0))
    return run


TRAINED = dict.fromkeys(range(0, 60, 5), True)
RIGHT = {19: False, 39: False}


def test_modes_that_change_as_they_should_pass(chain: Chains) -> None:
    assert "train_eval_mode" in diagnosed(modes(chain(2), TRAINED, RIGHT)).passed


def test_a_model_that_stays_in_evaluation_mode_is_a_warning(chain: Chains) -> None:
    run = modes(chain(2), {step: step < 20 for step in TRAINED}, RIGHT)
    result = found(diagnosed(run), "train_eval_mode")
    assert (result.severity, result.first_step, result.layer) == (Severity.WARNING, 20, "norm")
    assert "since step 20" in result.message


def test_a_model_that_was_never_in_training_mode_is_information(chain: Chains) -> None:
    run = modes(chain(2), dict.fromkeys(TRAINED, False), RIGHT)
    assert found(diagnosed(run), "train_eval_mode").severity is Severity.INFO


def test_normalisation_alone_in_evaluation_mode_is_information(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, RIGHT, norm=False)
    assert found(diagnosed(run), "train_eval_mode").severity is Severity.INFO


def test_an_evaluation_mode_that_ended_passes(chain: Chains) -> None:
    run = modes(chain(2), {step: not 20 <= step < 40 for step in TRAINED}, RIGHT)
    assert "train_eval_mode" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("with_norm", "tags", "severity"),
    [
        (True, (), Severity.ERROR),
        (False, (), Severity.WARNING),
        (False, ("mc-dropout",), Severity.INFO),
    ],
)
def test_evaluations_in_training_mode_are_found(
    chain: Chains,
    with_norm: bool,  # noqa: FBT001
    tags: tuple[str, ...],
    severity: Severity,
) -> None:
    run = modes(chain(2, tags=tags), TRAINED, {19: True, 39: True}, with_norm=with_norm)
    result = found(diagnosed(run), "train_eval_mode")
    assert (result.severity, result.first_step) == (severity, 19)


@pytest.mark.parametrize(
    ("evaluations", "metric"),
    [({19: True, 39: True}, "reward"), ({19: True}, "val_loss"), ({9: True, **RIGHT}, "val_loss")],
)
def test_other_forwards_without_gradient_pass(
    chain: Chains, evaluations: dict[int, bool], metric: str
) -> None:
    run = modes(chain(2), TRAINED, evaluations, metric=metric)
    assert "train_eval_mode" in diagnosed(run).passed


def test_a_model_without_modes_passes(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=5)
    for step in range(0, 60, 5):
        run.activation("l0", "output", step, training=False)
    assert "train_eval_mode" in diagnosed(run).passed


def test_without_layers_it_is_not_checked(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=5)
    assert "activations=True" in not_checked(diagnosed(run), "train_eval_mode").reason
