"""output_head on synthetic runs: what counts, and how much."""

import pytest
from judged_runs import Chains, diagnosed, found, learning, not_checked
from synthetic import RunBuilder

from telemetry.diagnose.finding import Severity
from telemetry.store.sessions.rows import SqlValue

FACTS: dict[str, SqlValue] = {
    "call": 0,
    "pair": 0,
    "path": "",
    "operation": "mse_loss",
    "head": "",
    "output_head": "",
    "single_softmax": False,
    "n_outputs": 1,
    "is_output": True,
    "is_made": False,
    "output_shape": "64x1",
    "target_shape": "64x1",
    "n": 64,
    "target_min": -2.0,
    "target_max": 2.0,
    "excluded_share": None,
}


def with_pairs(run: RunBuilder, **facts: SqlValue) -> RunBuilder:
    for step in range(0, 150, 10):
        run.add("loss_graphs", step=step, **{**FACTS, **facts})
    return run


@pytest.mark.parametrize(
    ("share", "severity"), [(0.04, None), (0.06, Severity.WARNING), (0.6, Severity.WARNING)]
)
def test_a_share_of_the_targets_beyond_the_head(
    chain: Chains, share: float, severity: Severity | None
) -> None:
    run = with_pairs(chain(2).losses(learning(150)), head="tanh", excluded_share=share)
    result = diagnosed(run)
    if severity is None:
        assert "output_head" in result.passed
        return
    assert found(result, "output_head").severity is severity
    assert "(-1 to 1), and targets go from -2 to 2" in found(result, "output_head").message


@pytest.mark.parametrize("facts", [{"is_made": True}, {"is_output": False}])
def test_targets_of_the_loss_and_answers_that_it_changes_are_left_alone(
    chain: Chains, facts: dict[str, SqlValue]
) -> None:
    run = with_pairs(chain(2).losses(learning(150)), head="relu", excluded_share=0.5, **facts)
    assert "output_head" in diagnosed(run).passed


@pytest.mark.parametrize("n_steps", [2, 3])
def test_a_softmax_over_one_unit_counts_where_no_target_was_seen(
    chain: Chains, n_steps: int
) -> None:
    """As with one example at a time, whose target is a single number."""
    run = chain(2).losses(learning(150))
    for step in range(n_steps):
        unseen = {"call": 0, "n_outputs": 1, "single_softmax": True}
        run.add("loss_graphs", step=step, **unseen)
    result = diagnosed(run)
    if n_steps < 3:
        assert "output_head" in result.passed
        return
    assert found(result, "output_head").severity is Severity.ERROR


def test_a_softmax_over_one_unit_beside_another_loss_is_a_warning(chain: Chains) -> None:
    run = with_pairs(chain(2).losses(learning(150)), single_softmax=True, head="softmax")
    assert found(diagnosed(run), "output_head").severity is Severity.ERROR
    beside = with_pairs(chain(2).losses(learning(150)), single_softmax=True, head="softmax")
    with_pairs(beside, single_softmax=True, pair=1, path="value")
    assert found(diagnosed(beside), "output_head").severity is Severity.WARNING


STAYS = [2.3 + 0.01 * (step % 3) for step in range(150)]


@pytest.mark.parametrize(
    ("chain_of", "losses", "severity"),
    [
        (": linear tanh log_softmax", learning(150), Severity.WARNING),
        (": linear sigmoid softmax log", STAYS, Severity.WARNING),
        (": linear relu log_softmax", learning(150), Severity.WARNING),
        (": linear log_softmax", STAYS, None),
        (": linear softmax log", STAYS, None),
        (": linear relu", STAYS, None),
    ],
)
def test_class_scores_that_end_in_a_bounded_operation(
    chain: Chains, chain_of: str, losses: list[float], severity: Severity | None
) -> None:
    result = diagnosed(
        with_pairs(chain(2).losses(losses), chains=chain_of), detectors=["output_head"]
    )
    if severity is None:
        assert "output_head" in result.passed
        return
    assert found(result, "output_head").severity is severity
    assert f"through {chain_of.split()[2]}" in found(result, "output_head").message


@pytest.mark.parametrize(
    ("chain_of", "told"),
    [
        ("mean: linear softplus; spread: linear relu exp", True),
        ("spread: linear exp exp", True),
        ("spread: linear tanh exp", False),
        ("spread: linear log_softmax exp", False),
        ("spread: linear exp", False),
    ],
)
def test_exp_of_what_cannot_be_negative(chain: Chains, chain_of: str, told: bool) -> None:  # noqa: FBT001
    result = diagnosed(
        with_pairs(chain(2).losses(learning(150)), chains=chain_of), detectors=["output_head"]
    )
    if not told:
        assert "output_head" in result.passed
        return
    assert found(result, "output_head").severity is Severity.WARNING
    assert found(result, "output_head").layer == "spread"


def test_a_chain_of_half_of_the_steps_counts_and_one_of_fewer_does_not(chain: Chains) -> None:
    for n_steps in (7, 8):
        run = chain(2).losses(learning(150))
        for index, step in enumerate(range(0, 150, 10)):
            chains = ": linear tanh log_softmax" if index < n_steps else None
            run.add("loss_graphs", step=step, **{**FACTS, "chains": chains})
        assert ("output_head" in diagnosed(run, detectors=["output_head"]).passed) == (n_steps == 7)


@pytest.mark.parametrize("is_other", [True, False, None])
def test_a_softmax_over_another_dimension_than_the_classes(
    chain: Chains,
    is_other: bool | None,  # noqa: FBT001
) -> None:
    run = with_pairs(chain(2).losses(learning(150)), is_other_axis=is_other)
    result = diagnosed(run, detectors=["output_head"])
    if is_other:
        assert found(result, "output_head").severity is Severity.WARNING
        return
    assert "output_head" in result.passed


@pytest.mark.parametrize(
    ("share", "facts", "told"),
    [
        (0.06, {"operation": "binary_cross_entropy"}, True),
        (0.04, {"operation": "binary_cross_entropy"}, False),
        (0.9, {"operation": "mse_loss"}, True),
        (0.9, {"operation": "mul"}, False),  # several right answers
        (0.9, {"operation": "mse_loss", "is_output": False}, False),
    ],
)
def test_targets_that_do_not_add_up_to_one_where_a_softmax_does(
    chain: Chains,
    share: float,
    facts: dict[str, SqlValue],
    told: bool,  # noqa: FBT001
) -> None:
    run = with_pairs(
        chain(2).losses(learning(150)), **{"head": "softmax", **facts}, unequal_rows_share=share
    )
    result = diagnosed(run, detectors=["output_head"])
    if not told:
        assert "output_head" in result.passed
        return
    assert "adds up to 1, and they do not" in found(result, "output_head").message


def test_a_loss_that_was_not_followed_is_not_checked(chain: Chains) -> None:
    result = diagnosed(chain(2).losses(learning(150)))
    assert "no loss was followed" in not_checked(result, "output_head").reason
