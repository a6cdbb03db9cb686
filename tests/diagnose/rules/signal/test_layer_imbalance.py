"""layer_imbalance."""

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

ID = "layer_imbalance"
N = WIDTH**2


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
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.WARNING
    assert result.layer == "l1"
    assert result.value == pytest.approx(np.log2(1e4), abs=1e-3)
    assert (result.first_step, result.last_step) == (20, 116)
    assert found(diagnosed(run), "loss_not_decreasing").consequence_of == ID


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
    assert found(result, ID).severity is severity
    assert found(result, ID).layer == "l1"  # of two, the slow one


def test_the_layer_that_stands_apart_is_named(chain: Chains) -> None:
    run = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-6, 1e-6, 1e-1])
    assert found(diagnosed(run), ID).layer == "l2"


@pytest.mark.parametrize(
    ("losses", "slow"),
    [(learning(120), 1e-6), (stalled(2.3, 120), 5e-5)],
    ids=["learning", "eight bits"],
)
def test_an_imbalance_without_harm_is_told_where_asked_for(
    chain: Chains, losses: list[float], slow: float
) -> None:
    run = speeds(chain(2).losses(losses, every=4), [1e-2, slow])
    assert ID in diagnosed(run).passed
    assert asked(run, ID).value == pytest.approx(np.log2(1e-2 / slow), abs=1e-3)


def test_layers_without_a_gradient_and_few_samples_do_not_count(chain: Chains) -> None:
    frozen = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-2, 0.0, 1e-2])
    assert diagnosed(frozen, detectors=[ID]).passed == (ID,)
    idle = speeds(chain(3).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6, 1e-2])
    for row in idle.rows["tensor_stats"]:  # an expert without a token, moved by momentum alone
        if row["tensor_id"] == tensor_id("l1.weight", "gradient"):
            row["sumsq"] = 0.0
    assert diagnosed(idle, detectors=[ID]).passed == (ID,)
    early = speeds(chain(2).losses(stalled(2.3, 120), every=4), [1e-2, 1e-6], steps=range(0, 36, 4))
    assert "fewer than 5 samples" in not_checked(diagnosed(early), ID).reason
    one = speeds(chain(1).losses(stalled(2.3, 120), every=4), [1e-2])
    assert not_checked(diagnosed(one), ID).absent


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
    assert (ID in diagnosed(run).passed) is is_declared


def test_two_optimizers_of_different_rates_are_balanced_if_their_steps_are(chain: Chains) -> None:
    run = speeds(chain(2).losses(stalled(2.3, 120), every=4), [1e-2, 1e-2])
    for row in run.rows["tensors"]:
        if row["param_id"] == tensor_id("l1.weight", "weight"):
            row["lr_group"] = 1
    run.metric("lr/1", {0: 1e-5}, phase="train")
    assert diagnosed(run, detectors=[ID]).passed == (ID,)


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
    assert found(diagnosed(run), ID).consequence_of == "vanishing_gradient"
