"""weight_norm_growth, layer_imbalance."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import (
    WIDTH,
    Chain,
    Chains,
    asked,
    diagnosed,
    found,
    learning,
    not_checked,
    stalled,
)
from synthetic import tensor_id

from telemetry.diagnose.finding import Severity

PLATEAU = "loss_plateau"
OSCILLATION = "gradient_oscillation"
GROWTH = "weight_norm_growth"
IMBALANCE = "layer_imbalance"
N = WIDTH**2


def weights(run: Chain, norms: Sequence[Sequence[float]], *, ratio: float, every: int = 4) -> Chain:
    """Norms of the layers in each sample, and updates of a share of them."""
    for index, values in enumerate(norms):
        for layer, norm in enumerate(values):
            name = f"l{layer}.weight"
            run.norm(name, "weight", index * every, norm, n=N)
            run.norm(name, "update", index * every, ratio * norm, n=N)
    return run


def exponential(bits: float, n: int = 60) -> list[list[float]]:
    """The first of two layers grows by as many bits, alike in each sample."""
    return [[8 * 2 ** (bits * index / (n - 1)), 8.0] for index in range(n)]


PACE = 0.7 * 7 / 240  # of seven bits in 240 steps


def test_even_growth_of_a_failing_run_is_its_cause(chain: Chains) -> None:
    run = weights(chain(2).losses(stalled(2.3, 240), every=4), exponential(7), ratio=PACE)
    result = found(diagnosed(run), GROWTH)
    assert result.severity is Severity.WARNING
    assert result.layer == "l0"
    assert result.layers == ("l0",)
    assert result.value == pytest.approx(7.0, abs=1e-3)
    assert result.first_step == 0
    assert "2.06% a step all the time; the run is stalled" in result.message
    assert "weight decay of -0.206 at the learning rate 0.1" in result.advice
    assert result.consequence_of is None


def test_even_growth_while_the_loss_falls_is_told_where_asked_for(chain: Chains) -> None:
    run = weights(chain(2).losses(learning(240), every=4), exponential(11), ratio=1.6 * PACE)
    assert GROWTH in diagnosed(run).passed
    assert asked(run, GROWTH).severity is Severity.INFO


@pytest.mark.parametrize(
    ("tags", "severity"), [((), Severity.WARNING), (("gan",), Severity.INFO)], ids=["plain", "gan"]
)
def test_a_reward_for_large_weights_that_makes_the_loss_negative(
    chain: Chains, tags: tuple[str, ...], severity: Severity
) -> None:
    losses = list(2.3 - np.geomspace(0.01, 100, 240))
    run = weights(chain(2, tags=tags).losses(losses, every=4), exponential(7), ratio=PACE)
    run.metric("val_loss", {step: max(0.5, step / 100) for step in range(0, 240, 20)})
    assert found(diagnosed(run), GROWTH).severity is severity


def test_a_validation_loss_that_rises_with_the_weights_is_harm(chain: Chains) -> None:
    run = weights(chain(2).losses(learning(240), every=4), exponential(7), ratio=PACE)
    run.metric("val_loss", {step: max(0.5, step / 100) for step in range(0, 240, 20)})
    result = found(diagnosed(run), GROWTH)
    assert result.severity is Severity.WARNING
    assert "val_loss has risen from 0.5" in result.message


@pytest.mark.parametrize(
    "norms",
    [
        [[8 + 250 * index / 59] for index in range(60)],  # equal additions, as Adam's
        [[8 * (1 + 40 * (index / 59) ** 0.5)] for index in range(60)],  # scale-invariant weights
        [[8.0 if index < 30 else 800.0] for index in range(60)],  # one jump
    ],
    ids=["linear", "root", "jump"],
)
def test_growth_of_a_changing_pace_is_told_where_asked_for(
    chain: Chains, norms: list[list[float]]
) -> None:
    run = weights(chain(1).losses(stalled(2.3, 240), every=4), norms, ratio=PACE)
    assert GROWTH in diagnosed(run).passed
    assert asked(run, GROWTH).severity is Severity.INFO


def test_one_long_interval_between_few_samples_is_no_pace(chain: Chains) -> None:
    run = chain(1).losses(stalled(2.3, 240), every=240)
    steps = [0, 1, 2, 3, 4, 5, 6, 230]
    for step, bits in zip(steps, [0, 0.4, 0.7, 0.9, 1.0, 1.05, 1.07, 5], strict=True):
        run.norm("l0.weight", "weight", step, 8 * 2**bits, n=N)
        run.norm("l0.weight", "update", step, 8 * 2**bits * 0.012, n=N)
    assert GROWTH in diagnosed(run).passed


def test_a_pace_that_follows_the_learning_rate_is_even(chain: Chains) -> None:
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(240) / 240)) / 2
    run = chain(1).losses(stalled(2.3, 240), every=4)
    for row, rate in zip(run.rows["steps"], rates, strict=True):
        row["lr"] = rate
    sums = np.concatenate([[0.0], np.cumsum(rates)])[:240:4]
    norms = [[8 * 2 ** (7 * value / sums[-1])] for value in sums]
    run.rows["steps"][236]["lr"] = 0.0
    assert found(diagnosed(weights(run, norms, ratio=PACE)), GROWTH).severity is Severity.WARNING


def test_steps_that_turn_the_weights_round_are_no_growth(chain: Chains) -> None:
    run = weights(chain(2).losses(stalled(2.3, 240), every=4), exponential(7), ratio=2.0)
    assert GROWTH in diagnosed(run).passed
    small = weights(chain(2).losses(stalled(2.3, 240), every=4), exponential(7), ratio=3 * PACE)
    assert GROWTH in diagnosed(small).passed


def test_a_matrix_that_starts_at_zero_does_not_grow_without_bound(chain: Chains) -> None:
    norms = [[8 * index / 59] for index in range(60)]
    run = weights(chain(1).losses(stalled(2.3, 240), every=4), norms, ratio=PACE)
    assert GROWTH in diagnosed(run).passed
    assert asked(run, GROWTH).value == pytest.approx(np.log2(10), abs=1e-3)


def test_what_growing_weights_bring_about_follows_from_them(chain: Chains) -> None:
    losses = [*learning(120, start=2.3, end=0.5), *np.geomspace(0.5, 50, 120)]
    run = weights(chain(2).losses(losses, every=4), exponential(7), ratio=PACE)
    result = diagnosed(run)
    assert found(result, GROWTH).consequence_of is None
    assert found(result, "learning_rate_too_high").consequence_of == GROWTH


def speeds(
    run: Chain, ratios: Sequence[float], *, steps: Sequence[int] = range(0, 120, 4)
) -> Chain:
    """Updates of the layers as shares of weights of norm 8."""
    for step in steps:
        for layer, ratio in enumerate(ratios):
            name = f"l{layer}.weight"
            run.norm(name, "weight", step, 8.0, n=N)
            run.norm(name, "gradient", step, 1.0 if ratio else 0.0, n=N)
            run.norm(name, "update", step, 8 * ratio, n=N)
    return run


def test_a_layer_that_hardly_moves_in_a_stalled_run_is_a_warning(chain: Chains) -> None:
    run = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6, 1e-2])
    result = found(diagnosed(run), IMBALANCE)
    assert result.severity is Severity.WARNING
    assert result.layer == "l1"
    assert result.value == pytest.approx(np.log2(1e4), abs=1e-3)
    assert (result.first_step, result.last_step) == (20, 116)
    assert found(diagnosed(run), "loss_not_decreasing").consequence_of == IMBALANCE


@pytest.mark.parametrize(
    ("end", "severity"), [(2.15, Severity.WARNING), (1.0, Severity.INFO)], ids=["hardly", "half"]
)
def test_a_run_that_has_stopped_is_judged_by_how_far_it_came(
    chain: Chains, end: float, severity: Severity
) -> None:
    losses = [*np.linspace(2.3, end, 40), *stalled(end, 160, noise=0.005)]
    run = speeds(chain(2).losses(losses, every=4), [1e-2, 1e-6], steps=range(0, 200, 4))
    for step in range(0, 200, 4):
        run.logits(step)
    result = diagnosed(run)
    assert result.state in {"learning", "converged"}
    assert found(result, IMBALANCE).severity is severity
    assert found(result, IMBALANCE).layer == "l1"  # of two, the slow one


def test_the_layer_that_stands_apart_is_named(chain: Chains) -> None:
    run = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-6, 1e-6, 1e-1])
    assert found(diagnosed(run), IMBALANCE).layer == "l2"


@pytest.mark.parametrize(
    ("losses", "slow"),
    [(learning(120), 1e-6), (stalled(2.3, 120), 5e-5)],
    ids=["learning", "eight bits"],
)
def test_an_imbalance_without_harm_is_told_where_asked_for(
    chain: Chains, losses: list[float], slow: float
) -> None:
    run = speeds(chain(2).losses(losses, every=4), [1e-2, slow])
    assert IMBALANCE in diagnosed(run).passed
    assert asked(run, IMBALANCE).value == pytest.approx(np.log2(1e-2 / slow), abs=1e-3)


def test_layers_without_a_gradient_and_few_samples_do_not_count(chain: Chains) -> None:
    frozen = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-2, 0.0, 1e-2])
    assert diagnosed(frozen, detectors=[IMBALANCE]).passed == (IMBALANCE,)
    idle = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6, 1e-2])
    for row in idle.rows["tensor_stats"]:  # an expert without a token, moved by momentum alone
        if row["tensor_id"] == tensor_id("l1.weight", "gradient"):
            row["sumsq"] = 0.0
    assert diagnosed(idle, detectors=[IMBALANCE]).passed == (IMBALANCE,)
    early = speeds(chain(2).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6], steps=range(0, 36, 4))
    assert "fewer than 5 samples" in not_checked(diagnosed(early), IMBALANCE).reason
    one = speeds(chain(1).losses(stalled(2.3, 120), every=4), [1e-2])
    assert not_checked(diagnosed(one), IMBALANCE).absent


@pytest.mark.parametrize(("rate", "is_declared"), [(1e-5, True), (0.1, False)])
def test_groups_of_declared_rates_are_meant(
    chain: Chains, rate: float, *, is_declared: bool
) -> None:
    """Group 0 has the rate 0.1, the second layer one of its own."""
    run = speeds(chain(2).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6])
    for row in run.rows["tensors"]:
        if row["param_id"] == tensor_id("l1.weight", "weight"):
            row["lr_group"] = 1
    run.metric("lr/1", {0: rate}, phase="train")
    assert (IMBALANCE in diagnosed(run).passed) is is_declared


def test_two_optimizers_of_different_rates_are_balanced_if_their_steps_are(chain: Chains) -> None:
    run = speeds(chain(2).losses(stalled(2.3, 120), every=4), [1e-2, 1e-2])
    for row in run.rows["tensors"]:
        if row["param_id"] == tensor_id("l1.weight", "weight"):
            row["lr_group"] = 1
    run.metric("lr/1", {0: 1e-5}, phase="train")
    assert diagnosed(run, detectors=[IMBALANCE]).passed == (IMBALANCE,)


def test_speeds_that_follow_from_a_vanished_gradient(chain: Chains) -> None:
    run = chain(10).losses(stalled(2.3, 120), every=4)
    for step in range(0, 120, 4):
        norms = [2.0 ** (-2.5 * (9 - index)) for index in range(10)]
        run.gradients(step, norms)
        for row in run.rows["tensor_stats"]:
            if row["kind"] == "update" and row["step"] == step:
                index = [tensor_id(f"l{k}.weight", "update") for k in range(10)].index(
                    row["tensor_id"]
                )
                row["sumsq"] = (0.1 * norms[index]) ** 2
    assert found(diagnosed(run), IMBALANCE).consequence_of == "vanishing_gradient"


def test_growth_without_a_learning_rate_is_told_what_to_look_at(chain: Chains) -> None:
    run = weights(chain(1).losses(stalled(2.3, 240), every=4), exponential(7), ratio=PACE)
    for row in run.rows["steps"]:
        row["lr"] = None
    assert found(diagnosed(run), GROWTH).advice.endswith("decay of the weights.")
