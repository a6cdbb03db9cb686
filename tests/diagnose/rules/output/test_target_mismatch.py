"""target_mismatch on synthetic runs: labels that are meant to be of one class, and others."""

import pytest
from judged_runs import Chains, diagnosed, found, learning
from synthetic import RunBuilder

from telemetry.diagnose.finding import Severity
from telemetry.store.sessions.rows import SqlValue

FACTS: dict[str, SqlValue] = {
    "call": 0,
    "pair": 0,
    "path": "",
    "operation": "nll_loss_forward",
    "head": "log_softmax",
    "single_softmax": False,
    "n_outputs": 1,
    "is_output": True,
    "is_broadcast": False,
    "is_made": False,
    "output_shape": "64x10",
    "target_shape": "64",
    "n": 64,
    "target_min": 3.0,
    "target_max": 3.0,
    "target_spread": 0.0,
    "first_label": 3.0,
    "whole_targets": True,
    "one_hot_targets": False,
}


def with_pairs(run: RunBuilder, *, every: int = 10, **facts: SqlValue) -> RunBuilder:
    for step in range(0, 150, every):
        run.add("loss_graphs", step=step, **{**FACTS, **facts})
    return run


def test_labels_of_one_class_are_a_warning_though_the_loss_falls(chain: Chains) -> None:
    result = found(diagnosed(with_pairs(chain(2).losses(learning(150)))), "target_mismatch")
    assert result.severity is Severity.WARNING
    assert "all 960 labels that were looked at are 3" in result.message


@pytest.mark.parametrize(
    "facts",
    [
        {"target_max": 4.0, "target_spread": 1.0},
        {"is_made": True},  # as the ones of a generator
        {"is_output": False},  # as the scores of contrastive pairs
        {"n_outputs": 2},  # as of a discriminator, whose other call has no target
        {"n": 4},  # too few to tell
        {"n": 16, "output_shape": "16x2"},  # of two classes one may be rare
        {"operation": "mul", "output_shape": "64", "target_min": 3.0},  # as weights of examples
        {"operation": "mse_loss"},  # as a residual that shall be zero
        {  # as the right item first, and wrong ones after it
            "operation": "binary_cross_entropy_with_logits",
            "head": "",
            "output_shape": "64x5",
            "target_shape": "64x5",
            "target_min": 0.0,
            "target_max": 1.0,
            "first_label": 0.0,
        },
    ],
)
def test_other_labels_are_no_mistake(chain: Chains, facts: dict[str, SqlValue]) -> None:
    run = with_pairs(chain(2).losses(learning(150)), **facts)
    assert "target_mismatch" in diagnosed(run).passed


def test_a_second_call_with_the_other_class_is_no_mistake(chain: Chains) -> None:
    run = with_pairs(chain(2).losses(learning(150)), target_min=1.0, target_max=1.0)
    with_pairs(run, call=1, target_min=0.0, target_max=0.0)
    assert "target_mismatch" in diagnosed(run).passed


@pytest.mark.parametrize(("most", "told"), [(1.0, False), (1.0005, False), (9.0, True)])
def test_a_binary_loss_takes_shares(chain: Chains, most: float, told: bool) -> None:  # noqa: FBT001
    run = with_pairs(
        chain(2).losses(learning(150)),
        operation="binary_cross_entropy_with_logits",
        head="",
        target_min=0.0,
        target_max=most,
        target_spread=most,
    )
    result = diagnosed(run)
    assert ("target_mismatch" not in result.passed) == told
    if told:
        assert "gets class numbers from 0 to 9" in found(result, "target_mismatch").message


def test_one_hot_rows_that_pick_are_an_error(chain: Chains) -> None:
    facts: dict[str, SqlValue] = {
        "operation": "gather",
        "target_shape": "64x10",
        "target_min": 0.0,
        "target_max": 1.0,
        "one_hot_targets": True,
    }
    run = with_pairs(chain(2).losses(learning(150)), **facts)
    assert found(diagnosed(run), "target_mismatch").severity is Severity.ERROR


ROWS: dict[str, SqlValue] = {
    "operation": "mul",
    "head": "log_softmax",
    "output_shape": "64x2",
    "target_shape": "64x2",
    "target_min": 0.05,
    "target_max": 0.95,
    "first_label": 1.0,
    "whole_targets": False,
}


@pytest.mark.parametrize(
    "facts",
    [
        ROWS,
        {**ROWS, "head": "log", "n": 32},
        {"n": 5, "output_shape": "5x4"},  # three classes and more: 75 labels tell
        {"operation": "gather", "target_shape": "64x1"},
    ],
)
def test_rows_of_shares_and_few_labels_of_many_classes_are_judged_as_well(
    chain: Chains, facts: dict[str, SqlValue]
) -> None:
    result = found(
        diagnosed(with_pairs(chain(2).losses(learning(150)), **facts)), "target_mismatch"
    )
    assert result.severity is Severity.WARNING
    assert "never met another class" in result.message


@pytest.mark.parametrize("facts", [{"target_spread": 0.9}, {"head": ""}, {"target_max": 2.0}])
def test_rows_that_differ_or_are_weights_are_no_mistake(
    chain: Chains, facts: dict[str, SqlValue]
) -> None:
    run = with_pairs(chain(2).losses(learning(150)), **{**ROWS, **facts})
    assert "target_mismatch" in diagnosed(run).passed


def test_batches_of_one_class_each_are_no_single_class(chain: Chains) -> None:
    run = chain(2).losses(learning(150))
    with_pairs(run, **{**ROWS, "first_label": 0.0}, every=20)
    for step in range(10, 150, 20):
        run.add("loss_graphs", step=step, **{**FACTS, **ROWS})
    assert not any(each.detector == "target_mismatch" for each in diagnosed(run).findings)


@pytest.mark.parametrize(
    ("low", "high", "told"), [(1.0, 2.0, True), (0.0, 255.0, True), (0.0, 1.0, False)]
)
def test_labels_that_a_shift_was_not_made_for(
    chain: Chains,
    low: float,
    high: float,
    told: bool,  # noqa: FBT001
) -> None:
    run = with_pairs(
        chain(2).losses(learning(150)),
        operation="mul",
        head="",
        label_min=low,
        label_max=high,
        target_min=2 * low - 1,
        target_max=2 * high - 1,
        target_spread=2 * (high - low),
    )
    result = diagnosed(run)
    assert ("target_mismatch" in result.passed) != told
    if told:
        assert f"labels y from {low:.0f} to {high:.0f}" in found(result, "target_mismatch").message


BY_HAND: dict[str, SqlValue] = {
    "operation": "mul",
    "head": "log",
    "output_head": "sigmoid",
    "output_shape": "64x1",
    "target_shape": "64x1",
    "target_max": 2.0,
    "n_distinct": 3,
}
FINE: dict[str, SqlValue] = {"target_min": 0.0, "target_max": 9.0, "target_spread": 9.0}


def test_shapes_that_cross_are_an_error_though_the_loss_falls(chain: Chains) -> None:
    facts: dict[str, SqlValue] = {"output_shape": "64x1", "operation": "sub", "head": ""}
    run = with_pairs(chain(2).losses(learning(150)), **{**FINE, **facts, "is_broadcast": True})
    result = found(diagnosed(run, detectors=["target_mismatch"]), "target_mismatch")
    assert result.severity is Severity.ERROR
    assert "of shape (64, 1) meets targets of shape (64,)" in result.message


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"misaligned": "split", "output_shape": "4x3x5x5"}, "rows of its second dimension"),
        ({"misaligned": "transposed"}, "outputs meet the targets of other sequences"),
        ({"padding_index": 0, "padding_share": 0.51}, "51% of the targets are class 0"),
        ({"padding_index": 0, "padding_share": 0.49}, ""),
        (
            {"operation": "mse_loss", "output_shape": "64x10", "target_shape": "64x1"},
            "class numbers from 0 to 9 meet 10 outputs each",
        ),
        ({"operation": "mse_loss", "output_shape": "64x11", "target_shape": "64x1"}, ""),
        (BY_HAND, "a binary cross-entropy gets class numbers from 0 to 2"),
        ({**BY_HAND, "n_distinct": 2}, ""),  # weights of 0 and 2
        ({**BY_HAND, "output_head": "softplus"}, ""),  # counts and the logarithm of their rate
        ({**BY_HAND, "target_max": 1.0, "n_distinct": 2}, ""),
        ({"ignored_share": 0.1}, "10% of the labels are the ignore_index"),
        ({"ignored_share": 0.1, "output_shape": "4x16x10", "target_shape": "64"}, ""),
        ({"ignored_share": 0.1, "target_min": -100.0}, ""),
        ({"ignored_share": 0.0}, ""),
        ({"is_sign": True, "target_max": 1.0}, "where a sign of -1 or 1 belongs"),
        ({"is_sign": True, "target_max": 0.0, "target_min": -1.0}, "where a sign of -1 or 1"),
        ({"is_sign": True, "target_min": -1.0, "target_max": 1.0}, ""),
        ({"is_sign": False, "target_max": 1.0}, ""),
        ({"root": 1e-8, "constant_loss": 2.0}, "before the first step"),
        ({"root": 1e-5, "constant_loss": 2.0}, ""),
        ({"root": 1e-8, "naive_loss": 2.0}, "before the first step"),
        ({"root": 1e-8}, ""),
    ],
)
def test_targets_that_say_something_else(
    chain: Chains, facts: dict[str, SqlValue], words: str
) -> None:
    result = diagnosed(
        with_pairs(chain(2).losses(learning(150)), **{**FINE, **facts}),
        detectors=["target_mismatch"],
    )
    if not words:
        assert "target_mismatch" in result.passed
        return
    assert words in found(result, "target_mismatch").message
    assert found(result, "target_mismatch").severity is not Severity.INFO


def test_padding_shows_in_half_of_the_batches(chain: Chains) -> None:
    for n_batches in (7, 8):
        run = chain(2).losses(learning(150))
        for index, step in enumerate(range(0, 150, 10)):
            share = 0.9 if index < n_batches else None
            padding = {"padding_index": share and 0, "padding_share": share}
            run.add("loss_graphs", step=step, **{**FACTS, **FINE, **padding})
        assert ("target_mismatch" in diagnosed(run, detectors=["target_mismatch"]).passed) == (
            n_batches == 7
        )
