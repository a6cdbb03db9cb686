"""train_eval_mode."""

from collections.abc import Mapping

import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity


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
