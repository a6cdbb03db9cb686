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
    n_steps: int = 60,
) -> Chain:
    """Modes in training steps and evaluations of a model with a BatchNorm or a dropout."""
    layer, kind = ("norm", "BatchNorm1d") if with_norm else ("drop", "Dropout")
    attributes = (
        '{"eps": 1e-05, "track_running_stats": true}' if with_norm else '{"p": 0.1, "x": 1}'
    )
    run.module(layer, type_=kind, depth=20, role="norm")
    run.rows["modules"][-1]["attributes"] = attributes
    run.losses(learning(n_steps), every=5)
    for row in run.rows["steps"]:
        step = row["step"]
        if step in training:
            flag = training[step]
            own = flag if norm is None else norm
            row |= {"training_share": float(flag)}
            row |= {"norm_training": int(own and with_norm)}
            row |= {"dropout_training": int(flag and not with_norm)}
        if step in evaluations:
            flag = evaluations[step]
            row |= {"eval_training_share": float(flag)}
            row |= {"eval_norm_training": int(flag and with_norm)}
            row |= {"eval_dropout_training": int(flag and not with_norm)}
            row["flags"] |= 0 if metric == "reward" else 32
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


def test_a_model_that_was_never_in_training_mode_warns(chain: Chains) -> None:
    run = modes(chain(2), dict.fromkeys(TRAINED, False), RIGHT)
    assert found(diagnosed(run), "train_eval_mode").severity is Severity.WARNING


def test_normalisation_alone_in_evaluation_mode_is_information(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, RIGHT, norm=False)
    assert found(diagnosed(run), "train_eval_mode").severity is Severity.INFO


def wrapped(run: Chain, share_after: float) -> Chain:
    """The normalisation of a wrapper's network of many layers, in eval mode from step 20 on."""
    modes(run, TRAINED, RIGHT)
    n_modules = len(run.rows["modules"])
    for row in run.rows["steps"]:
        if row["step"] in TRAINED and row["step"] >= 20:
            row |= {"norm_training": 0, "training_share": 1 - share_after / n_modules}
    return run


def test_a_wrapper_in_training_mode_hides_no_network_that_stays_in_evaluation(
    chain: Chains,
) -> None:
    result = found(diagnosed(wrapped(chain(8), 6)), "train_eval_mode")
    assert (result.severity, result.first_step) == (Severity.WARNING, 20)


def test_layers_that_are_frozen_alone_in_the_middle_of_a_run_are_information(chain: Chains) -> None:
    assert found(diagnosed(wrapped(chain(8), 1)), "train_eval_mode").severity is Severity.INFO


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


def test_one_evaluation_in_training_mode_is_found(chain: Chains) -> None:
    result = found(diagnosed(modes(chain(2), TRAINED, {59: True})), "train_eval_mode")
    assert (result.severity, result.first_step) == (Severity.ERROR, 59)


def test_one_evaluation_of_several_may_be_of_another_kind(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, {9: True, **RIGHT})
    assert "train_eval_mode" in diagnosed(run).passed


def test_forwards_that_may_be_of_training_are_not_judged(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, {19: True, 39: True}, metric="reward")
    assert "log their result as val_" in not_checked(diagnosed(run), "train_eval_mode").reason


def test_results_without_an_evaluation_are_not_judged(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, {19: False})
    run.metric("test_loss", {49: 1.0})
    reason = not_checked(diagnosed(run), "train_eval_mode").reason
    assert reason.startswith("no evaluation was recorded after step 19, but results")


def test_training_after_the_last_evaluation_must_be_known(chain: Chains) -> None:
    run = modes(chain(2), {step: True for step in TRAINED if step < 40}, RIGHT)
    reason = not_checked(diagnosed(run), "train_eval_mode").reason
    assert reason == "the modes of no training step after the evaluation at step 39 are known"


def test_two_steps_in_evaluation_mode_at_the_end_are_not_enough(chain: Chains) -> None:
    run = modes(chain(2), {step: step < 50 for step in TRAINED}, RIGHT)
    reason = not_checked(diagnosed(run), "train_eval_mode").reason
    assert "the last 2 of the steps" in reason
    assert "from step 50 on" in reason


def test_a_functional_dropout_that_is_on_in_evaluation_is_a_warning(chain: Chains) -> None:
    run = modes(chain(2), TRAINED, RIGHT)
    for step in RIGHT:
        run.activation("l1", "dropout#0", step, phase="eval", n=64, training=False)
    result = found(diagnosed(run), "train_eval_mode")
    assert (result.severity, result.layer, result.first_step) == (Severity.WARNING, "l1", 19)


def test_a_model_without_modes_passes(chain: Chains) -> None:
    run = chain(2).losses(learning(60), every=5)
    for row in run.rows["steps"]:
        row["training_share"] = 0.0
    assert "train_eval_mode" in diagnosed(run).passed


def test_without_modes_it_is_not_checked(chain: Chains) -> None:
    run = modes(chain(2), {}, {})
    assert "no modes" in not_checked(diagnosed(run), "train_eval_mode").reason
