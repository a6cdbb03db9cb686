"""learning_rate_too_high on synthetic curves."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity


def adam(run: Chain) -> Chain:
    run.event("optimizer", index=0, **{"class": "Adam", "groups": [{"tensors": 2}]})
    return run


def early(run: Chain, ratio: float, *, steps: Sequence[int] = range(12)) -> Chain:
    for step in steps:
        for index in range(run.n_layers):
            run.norm(f"l{index}.weight", "weight", step, 8.0, n=4096)
            run.norm(f"l{index}.weight", "update", step, 8.0 * ratio, n=4096)
    return run


def test_a_loss_that_leaves_its_start_for_good_is_an_error(chain: Chains) -> None:
    run = early(chain(2).losses([2.3, *stalled(40.0, 99)], lr=3.0), 0.6)
    result = found(diagnosed(run), "learning_rate_too_high")
    assert result.severity is Severity.ERROR
    assert result.first_step == 0  # the steps that brought it there
    assert result.value == pytest.approx(17.4, rel=0.1)
    assert "Divide the learning rate by 32 (from 3 to 0.0938)" in result.advice


def test_a_single_jump_counts_where_steps_are_large_and_nothing_is_learned(chain: Chains) -> None:
    losses = stalled(2.3, 100)
    losses[1] = 17.7
    run = early(chain(2).losses(losses, lr=0.1, every=10).logits(0).logits(10, absmax=2.0), 1.3)
    assert found(diagnosed(adam(run)), "learning_rate_too_high").severity is Severity.ERROR


def test_a_single_hard_batch_does_not_count_where_steps_are_small(chain: Chains) -> None:
    losses = learning(100, start=2.3)
    losses[40] = 17.7
    run = early(chain(2).losses(losses, lr=0.1, every=10).logits(0).logits(10), 0.01)
    assert "learning_rate_too_high" in diagnosed(adam(run)).passed


def test_a_catapult_that_ends_below_its_start_passes(chain: Chains) -> None:
    losses = [2.3, 5.0, 6.0, 5.0, *learning(96, start=2.0, end=0.9)]
    run = early(chain(2).losses(losses, every=10).logits(0).logits(10), 0.05)
    assert "learning_rate_too_high" in diagnosed(run).passed


def test_weights_replaced_in_the_first_steps_warn_unless_the_run_recovers(chain: Chains) -> None:
    harmed, recovered = learning(100, start=2.3, end=1.5), learning(100)
    result = found(
        diagnosed(adam(early(chain(2).losses(harmed, lr=0.1), 1.4))), "learning_rate_too_high"
    )
    assert (result.severity, result.unit) == (Severity.WARNING, "update/weight")
    run = adam(early(chain(2).losses(recovered, lr=0.1), 1.4))
    assert found(diagnosed(run), "learning_rate_too_high").severity is Severity.INFO
    smaller = adam(early(chain(2).losses(harmed, lr=0.1), 0.7))
    assert "learning_rate_too_high" in diagnosed(smaller).passed


def test_an_excursion_that_the_run_recovers_from_is_information(chain: Chains) -> None:
    losses = [2.3, 30.0, 20.0, 10.0, *learning(96)]
    run = early(chain(2).losses(losses, every=10).logits(0).logits(10), 0.3)
    assert found(diagnosed(run), "learning_rate_too_high").severity is Severity.INFO


def test_scale_invariant_weights_may_take_large_steps_with_sgd(chain: Chains) -> None:
    run = early(chain(2).losses(learning(100), lr=3.0), 1.4)
    run.event("optimizer", index=0, **{"class": "SGD", "groups": [{"tensors": 2}]})
    assert "learning_rate_too_high" in diagnosed(run).passed


def test_large_steps_explain_a_run_that_learns_nothing(chain: Chains) -> None:
    run = early(chain(2).losses(stalled(2.3, 120), lr=3.0), 0.6)
    result = diagnosed(run)
    assert found(result, "learning_rate_too_high").severity is Severity.WARNING
    assert found(result, "loss_not_decreasing").consequence_of == "learning_rate_too_high"


def test_steps_after_a_warm_up_are_looked_at(chain: Chains) -> None:
    run = adam(chain(2))
    for step, loss in enumerate(learning(100)):
        run.add("steps", step=step, loss=loss, lr=min(1.0, step / 40), samples=64, flags=17)
    early(early(run, 0.01), 1.5, steps=range(36, 46))
    result = found(diagnosed(run), "learning_rate_too_high")
    assert result.first_step == 36


def test_weights_that_a_warm_up_has_blown_up_are_seen_in_its_own_steps(chain: Chains) -> None:
    run = adam(chain(2))
    for step, loss in enumerate(stalled(2.3, 100)):
        run.add("steps", step=step, loss=loss, lr=min(1.0, (step + 1) / 40), samples=64, flags=17)
    early(early(run, 1.5), 0.01, steps=range(36, 46))
    result = found(diagnosed(run), "learning_rate_too_high")
    assert (result.first_step, result.value) == (0, pytest.approx(1.5))


@pytest.mark.parametrize(
    ("growth", "losses", "is_found"),
    [
        (30.0, stalled(5.0, 100), True),
        (8.0, stalled(5.0, 100), False),
        (30.0, learning(100, start=2.3, end=1.0), False),
    ],
    ids=["fails", "grown less", "learns"],
)
def test_weights_of_many_times_their_start_explain_a_run_that_fails(
    chain: Chains, growth: float, losses: list[float], *, is_found: bool
) -> None:
    run = adam(chain(2).losses(losses, lr=0.1))
    for step in range(0, 100, 10):
        for index in range(2):
            norm = 8.0 * (1 + (growth - 1) * step / 90)
            run.norm(f"l{index}.weight", "weight", step, norm, n=4096)
            run.norm(f"l{index}.weight", "update", step, 0.1 * norm, n=4096)
    result = diagnosed(run)
    assert ("learning_rate_too_high" in {f.detector for f in result.findings}) is is_found
    if is_found:
        own = found(result, "learning_rate_too_high")
        assert (own.value, own.first_step) == (pytest.approx(growth), 10)  # 4.2 times
        assert "median weight matrix has grown" in own.message


def test_an_excursion_begins_after_one_that_was_over(chain: Chains) -> None:
    losses = [2.3, *[6.0] * 5, *learning(94), *[40.0] * 40]
    result = found(diagnosed(adam(chain(2).losses(losses, lr=0.1))), "learning_rate_too_high")
    assert (result.first_step, result.earliest) == (100, 1)


def test_a_loss_of_either_sign_that_leaves_its_range_for_good_is_an_error(chain: Chains) -> None:
    """Its first ten values range over some 3: it ends 300 above, a hundred times that."""
    noise = np.random.default_rng(0).standard_normal(200)
    losses = list(noise + np.where(np.arange(200) < 30, 0.0, 300.0))
    result = found(diagnosed(early(chain(2).losses(losses), 0.3)), "learning_rate_too_high")
    assert (result.severity, result.first_step) == (Severity.ERROR, 30)
    assert result.value == pytest.approx(300 / np.ptp(noise[:10]), rel=0.05)
    assert "× the range of its first 10 values" in result.message
    mild = list(noise + np.where(np.arange(200) < 30, 0.0, 20.0))
    passed = diagnosed(early(chain(2).losses(mild), 0.3)).passed
    assert "learning_rate_too_high" in passed


@pytest.mark.parametrize(("end", "told"), [(0.29, True), (0.2, False)])
def test_an_excursion_without_a_level_counts_where_the_loss_ends_about_its_start(
    chain: Chains,
    end: float,
    told: bool,  # noqa: FBT001
) -> None:
    """The first ten losses lie high, so that the end seems to have fallen from them."""
    losses = [0.29, 0.27, *np.linspace(1.4, 0.5, 18), *stalled(end, 130)]
    verdict = diagnosed(early(chain(2).losses(losses, lr=4.0), 0.3))
    assert verdict.state in {"learning", "converged"}
    serious = [f.detector for f in verdict.findings if f.severity is not Severity.INFO]
    assert ("learning_rate_too_high" in serious) == told


def test_a_spread_of_values_without_level_is_no_excursion(chain: Chains) -> None:
    """The first loss is small by chance; nothing says what knowing nothing costs."""
    run = chain(2).losses([0.2, 0.9, 1.0, 0.95, *learning(120, start=1.0, end=0.5)])
    assert "learning_rate_too_high" in diagnosed(run).passed


def test_an_excursion_takes_two_losses(chain: Chains) -> None:
    assert (
        "two losses"
        in not_checked(diagnosed(chain(2).losses([1.0])), "learning_rate_too_high").reason
    )


def test_steps_that_do_not_move_the_weights_do_not_overshoot(chain: Chains) -> None:
    losses = [2.3, *stalled(40.0, 99)]
    run = early(chain(2).losses(losses, lr=3.0), 1e-6)
    assert "learning_rate_too_high" in diagnosed(run).passed


@pytest.mark.parametrize(
    ("name", "ratio", "told"),
    [("Adam", 1.8, True), ("Adagrad", 1.8, False), ("Adagrad", 3.5, True)],
)
def test_first_steps_of_adagrad_may_be_longer(
    chain: Chains,
    name: str,
    ratio: float,
    told: bool,  # noqa: FBT001
) -> None:
    run = early(chain(2).losses(learning(100, end=1.0), lr=0.1), ratio)
    run.event("optimizer", index=0, **{"class": name, "groups": [{"tensors": 2}]})
    severities = [f.severity for f in diagnosed(run, detectors=["learning_rate_too_high"]).findings]
    assert severities == [Severity.WARNING] * told


def test_steps_of_a_quarter_do_not_explain_it(chain: Chains) -> None:
    """Runs that learn begin with such steps, too."""
    run = early(chain(2).losses(stalled(2.3, 120), lr=3.0), 0.25)
    assert "learning_rate_too_high" in diagnosed(run).passed


def test_large_first_steps_of_a_run_that_learned_until_a_nan_are_no_fault(chain: Chains) -> None:
    run = early(chain(2).losses([*learning(60), *[float("nan")] * 10], lr=0.1), 0.6)
    assert "learning_rate_too_high" in diagnosed(run).passed


@pytest.mark.parametrize("end", [0.9, 1.9])
def test_a_high_catapult_is_information_once_half_is_learned(chain: Chains, end: float) -> None:
    losses = [2.3, 12.0, 14.0, 12.0, *learning(96, start=2.0, end=end)]
    run = early(chain(2).losses(losses, every=10).logits(0).logits(10), 0.05)
    severity = Severity.INFO if end < 1 else Severity.ERROR
    assert found(diagnosed(run), "learning_rate_too_high").severity is severity


@pytest.mark.parametrize(("rate", "judged"), [(0.1, True), (0.002, False)])
def test_a_group_of_a_rate_far_above_the_others_is_judged_by_itself(
    chain: Chains, rate: float, *, judged: bool
) -> None:
    """Two of five matrices are replaced at once: the median of all is small."""
    run = early(adam(chain(3).losses(learning(100, end=1.5), lr=0.001)), 0.01)
    for name in ("m0", "m1"):
        run.module(name, depth=20).parameter(f"{name}.weight", shape=(64, 64), depth=20, lr_group=1)
        for step in range(12):
            run.norm(f"{name}.weight", "weight", step, 8.0, n=4096)
            run.norm(f"{name}.weight", "update", step, 12.0, n=4096)
    run.metric("lr/1", {0: rate}, phase="train")
    result = diagnosed(run, detectors=["learning_rate_too_high"])
    assert bool(result.findings) is judged
    if judged:
        (finding,) = result.findings
        assert (finding.severity, finding.layers) == (Severity.WARNING, ("m0", "m1"))
        assert "at learning rate 0.1" in finding.message


def test_metrics_of_the_user_that_are_named_like_rates_are_no_groups(chain: Chains) -> None:
    run = early(adam(chain(3).losses(learning(100, end=1.5), lr=0.001)), 0.01)
    run.metric("lr/head", {0: 0.1}, phase="train")
    run.metric("lr/7", {0: 1e-9}, phase="train")
    result = diagnosed(run, detectors=["learning_rate_too_high"])
    assert (result.findings, result.not_checked) == ((), ())


def test_a_few_losses_without_any_update_are_not_checked(chain: Chains) -> None:
    few = diagnosed(chain(2).losses([2.3, 2.2]))
    assert "2 losses and no update" in not_checked(few, "learning_rate_too_high").reason
    assert "learning_rate_too_high" in diagnosed(chain(2).losses(learning(200))).passed


def heavy_tails(usual: Sequence[float], *, together: bool) -> list[float]:
    """One loss in eight costs four times as much: of hard batches, or in one stretch."""
    losses = list(usual)
    places = np.random.default_rng(0).permutation(np.arange(20, 240))[:28]
    for place in range(100, 128) if together else places.tolist():
        losses[place] *= 4
    return losses


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("usual", [learning(240, start=2.3, end=1.5), stalled(2.3, 240)])
def test_high_losses_that_are_scattered_are_chance_and_a_stretch_of_them_is_none(
    chain: Chains,
    usual: list[float],
    together: bool,  # noqa: FBT001
) -> None:
    run = chain(2).losses(heavy_tails(usual, together=together)).logits(0).logits(10, absmax=3.0)
    verdict = diagnosed(early(run, 0.05))
    told = [entry.detector for entry in verdict.findings]
    assert ("learning_rate_too_high" in told) == together


@pytest.mark.parametrize(
    ("before", "end", "severity"),
    [(0.8, 0.8, Severity.INFO), (0.3, 0.8, Severity.ERROR), (1.5, 0.8, Severity.ERROR)],
)
def test_an_excursion_does_no_harm_where_the_loss_was_and_is_again_half_of_knowing_nothing(
    chain: Chains, before: float, end: float, severity: Severity
) -> None:
    start = learning(60, start=2.3, end=before)
    losses = [*start, *stalled(40.0, 10), *learning(90, start=2.3, end=end), *stalled(end, 60)]
    run = early(chain(2).losses(losses, every=10).logits(0).logits(10, absmax=3.0), 0.05)
    assert found(diagnosed(run), "learning_rate_too_high").severity is severity
