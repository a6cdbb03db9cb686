"""weight_norm_growth."""

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
    stalled,
)

from telemetry.diagnose.finding import Severity

ID = "weight_norm_growth"
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
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.layer == "l0"
    assert result.layers == ("l0",)
    assert result.value == pytest.approx(7.0, abs=1e-3)
    assert result.first_step == 0
    assert "steadily by 2.06% per step; the run is stalled" in result.message
    assert "weight decay of -0.206 at the learning rate 0.1" in result.advice
    assert result.consequence_of is None


def test_even_growth_while_the_loss_falls_is_told_where_asked_for(chain: Chains) -> None:
    run = weights(chain(2).losses(learning(240), every=4), exponential(11), ratio=1.6 * PACE)
    assert ID in diagnosed(run).passed
    assert asked(run, ID).severity is Severity.INFO


@pytest.mark.parametrize(
    ("tags", "severity"), [((), Severity.WARNING), (("gan",), Severity.INFO)], ids=["plain", "gan"]
)
def test_a_reward_for_large_weights_that_makes_the_loss_negative(
    chain: Chains, tags: tuple[str, ...], severity: Severity
) -> None:
    losses = list(2.3 - np.geomspace(0.01, 100, 240))
    run = weights(chain(2, tags=tags).losses(losses, every=4), exponential(7), ratio=PACE)
    run.metric("val_loss", {step: max(0.5, step / 100) for step in range(0, 240, 20)})
    assert found(diagnosed(run), ID).severity is severity


def test_a_validation_loss_that_rises_with_the_weights_is_harm(chain: Chains) -> None:
    run = weights(chain(2).losses(learning(240), every=4), exponential(7), ratio=PACE)
    run.metric("val_loss", {step: max(0.5, step / 100) for step in range(0, 240, 20)})
    result = found(diagnosed(run), ID)
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
    assert ID in diagnosed(run).passed
    assert asked(run, ID).severity is Severity.INFO


def test_one_long_interval_between_few_samples_is_no_pace(chain: Chains) -> None:
    run = chain(1).losses(stalled(2.3, 240), every=240)
    steps = [0, 1, 2, 3, 4, 5, 6, 230]
    for step, bits in zip(steps, [0, 0.4, 0.7, 0.9, 1.0, 1.05, 1.07, 5], strict=True):
        run.norm("l0.weight", "weight", step, 8 * 2**bits, n=N)
        run.norm("l0.weight", "update", step, 8 * 2**bits * 0.012, n=N)
    assert ID in diagnosed(run).passed


def test_a_pace_that_follows_the_learning_rate_is_even(chain: Chains) -> None:
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(240) / 240)) / 2
    run = chain(1).losses(stalled(2.3, 240), every=4)
    for row, rate in zip(run.rows["steps"], rates, strict=True):
        row["lr"] = rate
    sums = np.concatenate([[0.0], np.cumsum(rates)])[:240:4]
    norms = [[8 * 2 ** (7 * value / sums[-1])] for value in sums]
    run.rows["steps"][236]["lr"] = 0.0
    assert found(diagnosed(weights(run, norms, ratio=PACE)), ID).severity is Severity.WARNING


def test_steps_that_turn_the_weights_round_are_no_growth(chain: Chains) -> None:
    run = weights(chain(2).losses(stalled(2.3, 240), every=4), exponential(7), ratio=2.0)
    assert ID in diagnosed(run).passed
    small = weights(chain(2).losses(stalled(2.3, 240), every=4), exponential(7), ratio=3 * PACE)
    assert ID in diagnosed(small).passed


def test_a_matrix_that_starts_at_zero_does_not_grow_without_bound(chain: Chains) -> None:
    norms = [[8 * index / 59] for index in range(60)]
    run = weights(chain(1).losses(stalled(2.3, 240), every=4), norms, ratio=PACE)
    assert ID in diagnosed(run).passed
    assert asked(run, ID).value == pytest.approx(np.log2(10), abs=1e-3)


def test_what_growing_weights_bring_about_follows_from_them(chain: Chains) -> None:
    losses = [*learning(120, start=2.3, end=0.5), *np.geomspace(0.5, 50, 120)]
    run = weights(chain(2).losses(losses, every=4), exponential(7), ratio=PACE)
    result = diagnosed(run)
    assert found(result, ID).consequence_of is None
    assert found(result, "learning_rate_too_high").consequence_of == ID


def test_growth_without_a_learning_rate_is_told_what_to_look_at(chain: Chains) -> None:
    run = weights(chain(1).losses(stalled(2.3, 240), every=4), exponential(7), ratio=PACE)
    for row in run.rows["steps"]:
        row["lr"] = None
    assert found(diagnosed(run), ID).advice.endswith("weight decay.")
