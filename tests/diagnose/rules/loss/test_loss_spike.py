"""loss_spike on synthetic curves."""

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, not_checked, stalled

from telemetry.diagnose.finding import Severity


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


@pytest.mark.parametrize(("length", "severity"), [(90, Severity.INFO), (130, Severity.WARNING)])
def test_a_spike_warns_where_it_takes_half_of_what_is_left_of_the_run(
    chain: Chains, length: int, severity: Severity
) -> None:
    losses = [2.3, *spiked(stalled(1.0, 299), [80], length=length)]
    assert found(diagnosed(chain(2).losses(losses)), "loss_spike").severity is severity


def test_a_spike_after_a_loss_of_nothing_is_told_without_a_ratio(chain: Chains) -> None:
    result = found(diagnosed(chain(2).losses([9.0, *[0.0] * 99, *[4.0] * 100])), "loss_spike")
    assert result.value == pytest.approx(4.0 / 0.9)  # against a tenth of the starting level
    assert "loss 4 after a median of 0 in the 50 steps before at step 100" in result.message
    for level in (0.0, 3.0):  # nothing rises
        assert "loss_spike" in diagnosed(chain(2).losses([level] * 200)).passed


def test_hard_batches_after_a_perfect_fit_pass(chain: Chains) -> None:
    perfect = [0.9, 0.5, *[0.0] * 198]
    for place in (100, 101, 150):
        perfect[place] = 1.1
    assert "loss_spike" in diagnosed(chain(2).losses(perfect)).passed


def test_a_few_samples_that_a_constant_answer_misses_pass(chain: Chains) -> None:
    """Eight samples of the other class in a row, one in each batch."""
    run = chain(2)
    for step in range(200):
        loss = 6.0 if 100 <= step < 108 else 5e-8
        run.add("steps", step=step, loss=0.7 if step < 5 else loss, lr=0.1, samples=1, flags=1)
    assert "loss_spike" in diagnosed(run).passed


def test_a_spike_that_stays_warns(chain: Chains) -> None:
    losses = [2.3, *spiked(stalled(1.0, 199), [80], length=120)]
    result = found(diagnosed(chain(2).losses(losses)), "loss_spike")
    assert result.severity in {Severity.WARNING, Severity.ERROR}
    assert "the loss did not recover" in result.message


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
    assert "at least 25 are needed" in not_checked(few, "loss_spike").reason
    signed = diagnosed(chain(2).losses(list(np.linspace(1, -1, 60))))
    assert "negative" in not_checked(signed, "loss_spike").reason
