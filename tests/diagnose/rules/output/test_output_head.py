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
    "is_broadcast": False,
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


def test_shapes_that_cross_are_an_error_though_the_loss_falls(chain: Chains) -> None:
    run = with_pairs(chain(2).losses(learning(150)), is_broadcast=True, target_shape="64")
    result = found(diagnosed(run), "output_head")
    assert result.severity is Severity.ERROR
    assert "of shape (64, 1) meets targets of shape (64,)" in result.message


def test_a_softmax_over_one_unit_beside_another_loss_is_a_warning(chain: Chains) -> None:
    run = with_pairs(chain(2).losses(learning(150)), single_softmax=True, head="softmax")
    assert found(diagnosed(run), "output_head").severity is Severity.ERROR
    beside = with_pairs(chain(2).losses(learning(150)), single_softmax=True, head="softmax")
    with_pairs(beside, single_softmax=True, pair=1, path="value")
    assert found(diagnosed(beside), "output_head").severity is Severity.WARNING


SCORES: dict[str, SqlValue] = {
    "operation": "nll_loss_forward",
    "head": "log_softmax",
    "output_shape": "64x10",
    "target_shape": "64",
}
STAYS = [2.3 + 0.01 * (step % 3) for step in range(150)]


@pytest.mark.parametrize(
    ("head", "losses", "severity"),
    [
        ("tanh", learning(150), Severity.WARNING),
        ("sigmoid", STAYS, Severity.WARNING),
        ("relu", learning(150), Severity.INFO),
        ("relu", STAYS, Severity.WARNING),
        ("", STAYS, None),
    ],
)
def test_class_scores_that_end_in_a_bounded_operation(
    chain: Chains, head: str, losses: list[float], severity: Severity | None
) -> None:
    result = diagnosed(with_pairs(chain(2).losses(losses), **SCORES, output_head=head))
    if severity is None:
        assert "output_head" in result.passed
        return
    assert found(result, "output_head").severity is severity
    assert f"through {head}" in found(result, "output_head").message


def test_a_loss_that_was_not_followed_is_not_checked(chain: Chains) -> None:
    result = diagnosed(chain(2).losses(learning(150)))
    assert "no loss was followed" in not_checked(result, "output_head").reason
