"""loss_not_decreasing, loss_spike, overfitting on synthetic curves."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

# --- loss_not_decreasing ------------------------------------------------------------------------


def test_a_loss_that_stays_is_found_from_the_hundredth_step(chain: Chains) -> None:
    result = found(diagnosed(chain(2).losses(stalled(5.0, 150))), "loss_not_decreasing")
    assert (result.severity, result.first_step, result.last_step) == (Severity.WARNING, 99, 149)


@pytest.mark.parametrize(("terms", "told"), [(256, True), (16, False)])
def test_a_loss_of_all_pairs_of_answers_and_targets_is_named(
    chain: Chains,
    terms: int,
    told: bool,  # noqa: FBT001
) -> None:
    run = chain(2).losses(stalled(1.0, 150), every=10)
    for step in range(0, 150, 10):
        run.activation("", "target", step, n=terms, sum=0.0, sumsq=1.0 * terms, loss_op="mse_loss")
        run.activation("l1", "output", step, n=16, sumsq=0.01)
    result = found(diagnosed(run), "loss_not_decreasing")
    assert ("each of 16 answers with each of 16 targets" in result.message) == told
    assert ("same shape" in result.advice) == told


def test_guessing_for_three_hundred_steps_is_an_error(chain: Chains) -> None:
    run = chain(2).losses(stalled(np.log(10), 320), every=10).logits(0).logits(10)
    result = found(diagnosed(run), "loss_not_decreasing")
    assert result.severity is Severity.ERROR
    assert "answering without looking costs 2.3" in result.message


def test_fewer_steps_than_a_tenth_of_the_plan_say_nothing(chain: Chains) -> None:
    run = chain(2, total_steps=5000).losses(stalled(5.0, 150))
    assert "500 are needed" in not_checked(diagnosed(run), "loss_not_decreasing").reason


def test_a_warm_up_is_waited_for(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate(stalled(5.0, 150)):
        run.add("steps", step=step, loss=loss, lr=1e-6 * step, flags=1)
    assert "warming up" in not_checked(diagnosed(run), "loss_not_decreasing").reason


def test_a_run_that_learns_passes(chain: Chains) -> None:
    assert "loss_not_decreasing" in diagnosed(chain(2).losses(learning(150))).passed


@pytest.mark.parametrize("tag", ["gan", "rl", "reinforcement-learning"])
def test_a_loss_that_measures_nothing_is_not_judged(chain: Chains, tag: str) -> None:
    run = chain(2, tags=(tag,)).losses(stalled(5.0, 150))
    result = diagnosed(run)
    assert result.state == "unknown"
    assert f"tag {tag}" in not_checked(result, "loss_not_decreasing").reason


def test_adversaries_with_optimizers_of_their_own_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)), backward_calls=3)
    for index in range(2):
        run.event("optimizer", index=index, **{"class": "Adam", "groups": [{"tensors": 1}]})
    result = diagnosed(run)
    assert "adversaries" in not_checked(result, "loss_not_decreasing").reason
    assert {finding.severity for finding in result.findings} <= {Severity.INFO}


def test_adversaries_with_callbacks_of_their_own_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)))
    run.event("shared_loss", models=["Critic"])
    result = diagnosed(run)
    assert "adversaries" in not_checked(result, "loss_not_decreasing").reason
    assert {finding.severity for finding in result.findings} <= {Severity.INFO}


def test_two_optimizers_of_one_loss_are_judged(chain: Chains) -> None:
    run = chain(2).losses(stalled(5.0, 150), backward_calls=1)
    for index in range(2):
        run.event("optimizer", index=index, **{"class": "SGD", "groups": [{"tensors": 1}]})
    result = found(diagnosed(run), "loss_not_decreasing")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(5.0, rel=0.05)


def test_modules_named_as_adversaries_are_recognised(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(0.7, 3.0, 200)))
    run.module("netG", type_="Net", role="other", depth=1)
    run.module("discriminator", type_="Net", role="other", depth=2)
    assert "adversaries" in not_checked(diagnosed(run), "loss_not_decreasing").reason


# --- loss_spike ---------------------------------------------------------------------------------


def spiked(losses: list[float], places: list[int], *, length: int = 10) -> list[float]:
    raised = list(losses)
    for place in places:
        for step in range(place, min(place + length, len(raised))):
            raised[step] *= 4
    return raised


def test_three_spikes_warn(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 299), [80, 160, 240])]
    result = found(diagnosed(chain(2).losses(losses)), "loss_spike")
    assert result.severity is Severity.WARNING
    assert result.evidence["steps"] == [81, 161, 241]
    assert result.first_step == 81
    assert result.value == pytest.approx(4.0, rel=0.1)


def test_one_spike_that_recovers_is_information(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 299), [80])]
    assert found(diagnosed(chain(2).losses(losses)), "loss_spike").severity is Severity.INFO


def test_a_spike_after_a_loss_of_nothing_is_told_without_a_ratio(chain: Chains) -> None:
    result = found(diagnosed(chain(2).losses([9.0, *[0.0] * 99, *[4.0] * 100])), "loss_spike")
    assert result.value == np.inf
    assert "loss 4 after a median of 0 in the 50 steps before at step 100" in result.message
    for level in (0.0, 3.0):  # nothing rises
        assert "loss_spike" in diagnosed(chain(2).losses([level] * 200)).passed


def test_a_spike_that_stays_warns(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 199), [80], length=120)]
    result = found(diagnosed(chain(2).losses(losses)), "loss_spike")
    assert result.severity in {Severity.WARNING, Severity.ERROR}
    assert "did not come back" in result.message


def test_single_hard_batches_pass(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 299), list(range(60, 290, 9)), length=1)]
    assert "loss_spike" in diagnosed(chain(2).losses(losses)).passed


def test_batches_of_one_pass(chain: Chains) -> None:
    losses = np.random.default_rng(0).standard_normal(600) ** 2
    run = chain(2)
    for step, loss in enumerate(losses):
        run.add("steps", step=step, loss=float(loss), lr=0.1, samples=1, flags=1)
    assert diagnosed(run).findings == ()


def test_a_jump_from_nothing_to_little_passes(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(0.01, 299), [80, 160, 240])]
    assert "loss_spike" in diagnosed(chain(2).losses(losses)).passed


def labelled(run: Chain, places: list[int], *, counts: int = 4) -> Chain:
    """Labels of the first two classes, and from each place on of two new ones as well."""
    for step in range(0, 300, 5):
        stage = sum(step >= place for place in places)
        held = np.zeros(10, dtype=np.float32)
        held[[0, 1]] = counts
        held[[2 * stage, 2 * stage + 1]] = counts
        shown = {"loss_op": "cross_entropy", "n_units": 10, "n_profile": 10}
        run.activation("", "target", step, n=64, sumsq=None, profile=held.tobytes(), **shown)
    return run


def test_classes_that_were_never_seen_explain_a_jump(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 299), [80, 160, 240])]
    own = {
        where: diagnosed(labelled(chain(2).losses(losses), places))
        for where, places in (("there", [81, 161, 241]), ("none", []))
    }
    assert "loss_spike" in own["there"].passed
    assert found(own["none"], "loss_spike").severity is Severity.WARNING


@pytest.mark.parametrize(("growth", "told"), [(2, False), (1, True)])
def test_a_stage_of_a_curriculum_explains_a_jump_and_a_loss_that_does_not_fall(
    chain: Chains,
    growth: int,
    told: bool,  # noqa: FBT001 - a case
) -> None:
    """Each stage forwards as many rows again; the loss sums over them."""
    run = chain(2)
    for step in range(300):
        stage = step // 100
        loss = 0.2 * 2**stage * (1 + 0.4 * np.exp(-(step % 100) / 20))
        run.add("steps", step=step, loss=loss, lr=0.1, samples=64 * growth**stage, flags=1)
    names = {f.detector for f in diagnosed(run).findings if f.severity is not Severity.INFO}
    assert ({"loss_spike", "loss_not_decreasing"} <= names) is told
    assert bool(names) is told


def test_a_warm_restart_explains_a_spike(chain: Chains) -> None:
    run = chain(2)
    for step, loss in enumerate([2.3, *spiked(stalled(0.6, 299), [100, 200])]):
        rate = 0.1 * (1 - (step % 100) / 101)
        run.add("steps", step=step, loss=loss, lr=rate, flags=1)
    assert "loss_spike" in diagnosed(run).passed


def folds(run: Chain, *, fresh: float = 8.0, again: float = 2.3, every: int = 5) -> Chain:
    """Three trainings of 100 steps one after the other; weights grow from a norm to twice that."""
    for step in range(300):
        within = step % 100
        start = 2.3 if step < 100 else again
        loss = 0.4 + (start - 0.4) * np.exp(-within / 20)
        run.add("steps", step=step, loss=float(loss), lr=0.1, samples=64, flags=17)
        if step % every == 0:
            norm = (8.0 if step < 100 else fresh) * (1 + within / 100)
            for index in range(run.n_layers):
                run.norm(f"l{index}.weight", "weight", step, norm, n=4096)
    return run


def test_weights_made_anew_explain_a_spike(chain: Chains) -> None:
    assert "loss_spike" in diagnosed(folds(chain(2))).passed


@pytest.mark.parametrize("changed", [{"fresh": 12.0}, {"again": 4.0}])
def test_a_spike_of_other_weights_or_to_another_level_is_one(
    chain: Chains, changed: dict[str, float]
) -> None:
    result = found(diagnosed(folds(chain(2), **changed)), "loss_spike")
    assert result.evidence["n_spikes"] == 2


def test_spikes_need_a_positive_loss_and_some_steps(chain: Chains) -> None:
    few = diagnosed(chain(2).losses([1.0] * 10))
    assert "a spike takes 25" in not_checked(few, "loss_spike").reason
    signed = diagnosed(chain(2).losses(list(np.linspace(1, -1, 60))))
    assert "negative" in not_checked(signed, "loss_spike").reason


# --- overfitting --------------------------------------------------------------------------------


def evaluated(
    run: Chain,
    losses: Sequence[float],
    accuracies: Sequence[float] | None = None,
    *,
    name: str = "val_loss",
) -> Chain:
    run.metric(name, {10 * i: v for i, v in enumerate(losses)})
    if accuracies is not None:
        run.metric("val_accuracy", {10 * i: v for i, v in enumerate(accuracies)})
    return run


RISING = [1.0, 0.6, 0.5, 0.5, 0.55, 0.62, 0.7, 0.8, 0.9, 1.0]
FALLING_ACCURACY = [0.5, 0.7, 0.8, 0.8, 0.79, 0.77, 0.75, 0.73, 0.72, 0.71]
CONSTANT_ACCURACY = [0.5, 0.7, 0.8, 0.8, 0.8, 0.8, 0.81, 0.8, 0.8, 0.8]


def test_both_loss_and_metric_worse_warn(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING, FALLING_ACCURACY)
    result = found(diagnosed(run), "overfitting")
    assert result.severity is Severity.WARNING
    assert result.first_step in {20, 30}
    assert "val_accuracy from 0.8 to 0.72" in result.message


def test_confidence_alone_is_information(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING, CONSTANT_ACCURACY)
    assert found(diagnosed(run), "overfitting").severity is Severity.INFO


def test_confidence_that_costs_more_than_guessing_warns(chain: Chains) -> None:
    run = chain(2).losses(learning(100, start=0.7), every=10)
    run.logits(0, classes=2).logits(10, classes=2)
    assert (
        found(diagnosed(evaluated(run, RISING, CONSTANT_ACCURACY)), "overfitting").severity
        is Severity.WARNING
    )


def test_a_loss_alone_must_rise_by_half_or_by_a_level(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING)
    assert found(diagnosed(run), "overfitting").severity is Severity.WARNING
    little = [1.0, 0.6, 0.5, 0.5, 0.52, 0.54, 0.57, 0.6, 0.62, 0.63]
    run = evaluated(chain(2).losses(learning(100)), little)
    assert found(diagnosed(run), "overfitting").severity is Severity.INFO


def test_a_metric_alone_that_falls_warns(chain: Chains) -> None:
    run = chain(2).losses(learning(100))
    run.metric("val_accuracy", {10 * i: v for i, v in enumerate(FALLING_ACCURACY)})
    assert found(diagnosed(run), "overfitting").severity is Severity.WARNING


def test_perplexity_is_the_loss_it_is_made_of(chain: Chains) -> None:
    small = [float(np.exp(v)) for v in [3.5, 3.2, 3.0, 3.0, 3.02, 3.05, 3.1, 3.1, 3.12, 3.15]]
    run = evaluated(chain(2).losses(learning(100)), small, name="val_ppl")
    assert "overfitting" in diagnosed(run).passed


def test_noise_of_an_evaluation_is_no_fall(chain: Chains) -> None:
    rng = np.random.default_rng(0)
    accuracies = 0.9 + 0.02 * rng.standard_normal(20)
    run = (
        chain(2)
        .losses(learning(200))
        .metric("val_accuracy", {10 * i: float(v) for i, v in enumerate(accuracies)})
    )
    assert "overfitting" in diagnosed(run).passed


def test_training_that_does_not_improve_is_not_overfitting(chain: Chains) -> None:
    run = evaluated(chain(2).losses(list(np.linspace(1.0, 2.0, 100))), RISING, FALLING_ACCURACY)
    assert "overfitting" in diagnosed(run).passed


def test_a_run_that_does_not_learn_does_not_overfit(chain: Chains) -> None:
    """Its accuracy wanders about chance, from a first value that was high by chance."""
    run = chain(2).losses(stalled(2.3, 200, seed=3)).logits(0).logits(4)
    accuracies = [0.16, 0.16, 0.15, *[0.1] * 7]
    run.metric("val_accuracy", {20 * i: value for i, value in enumerate(accuracies)})
    assert "overfitting" in diagnosed(run).passed


def test_four_evaluations_and_unknown_names_say_nothing(chain: Chains) -> None:
    run = evaluated(chain(2).losses(learning(100)), RISING[:4])
    run.metric("val_widgets", dict.fromkeys(range(0, 100, 10), 1.0))
    assert "4 evaluations" in not_checked(diagnosed(run), "overfitting").reason
