"""softmax_into_cross_entropy, class_collapse on synthetic inputs of losses."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

COLLAPSE = "class_collapse"
SOFTMAX = "softmax_into_cross_entropy"


def given(run: Chain, op: str, *, samples: int = 4, classes: int = 10, **values: object) -> Chain:
    """A run that learns, whose loss was given inputs of these statistics."""
    run.losses(learning(120), every=4)
    for index in range(samples):
        run.activation(
            "", "logits", 4 * index, n=64 * classes, loss_op=op, n_units=classes, **values
        )
    return run


def test_probabilities_in_cross_entropy_are_an_error_although_the_run_learns(chain: Chains) -> None:
    run = chain(3).module("soft", type_="Softmax", depth=9, role="other")
    result = found(diagnosed(given(run, "cross_entropy", row_sum_error=1e-7)), SOFTMAX)
    assert result.severity is Severity.ERROR
    assert result.layer == "soft"
    assert (result.first_step, result.last_step) == (0, 12)
    assert "all of 4 samples" in result.message
    assert result.consequence_of is None


def test_a_softmax_of_attention_is_not_named(chain: Chains) -> None:
    run = chain(3).module("attention.soft", type_="Softmax", depth=2, role="other")
    result = found(diagnosed(given(run, "cross_entropy", row_sum_error=4e-3)), SOFTMAX)
    assert result.layer is None


@pytest.mark.parametrize(
    ("op", "values", "severity", "words"),
    [
        ("nll_loss", {"row_sum_error": 12.0, "log_partition": 2.3}, "error", "raw logits"),
        ("nll_loss", {"row_sum_error": 1e-6, "log_partition": 2.4}, "warning", "probabilities"),
        ("cross_entropy", {"log_partition": 1e-5}, "info", "changes nothing"),
    ],
)
def test_each_mistake_has_its_severity(
    chain: Chains, op: str, values: dict[str, object], severity: str, words: str
) -> None:
    result = found(diagnosed(given(chain(3), op, **values)), SOFTMAX)
    assert result.severity == severity
    assert words in result.message


@pytest.mark.parametrize(
    ("op", "values"),
    [
        ("cross_entropy", {"log_partition": 2.3}),
        ("cross_entropy", {"row_sum_error": 0.5}),
        ("nll_loss", {"row_sum_error": 31.0, "log_partition": 0.01}),  # a clamp before the log
        ("nll_loss", {"row_sum_error": 31.0, "log_partition": -0.7}),  # mass left out
        ("binary_cross_entropy_with_logits", {"min": 0.2, "max": 0.8}),  # small logits
        ("mse_loss", {"row_sum_error": 0.0}),
    ],
)
def test_what_belongs_there_is_not_flagged(
    chain: Chains, op: str, values: dict[str, object]
) -> None:
    run = given(chain(3), op, **values)
    if op == "mse_loss":
        given(run, "cross_entropy", log_partition=2.3)
    assert SOFTMAX in diagnosed(run, detectors=[SOFTMAX]).passed


def test_one_class_has_no_softmax_to_speak_of(chain: Chains) -> None:
    run = given(chain(3), "cross_entropy", classes=1, row_sum_error=0.0)
    assert "was seen in 0 samples" in not_checked(diagnosed(run), SOFTMAX).reason


def test_a_sigmoid_whose_output_the_loss_reads_is_named(chain: Chains) -> None:
    run = chain(3).module("squash", type_="Sigmoid", depth=9, role="activation")
    given(run, "binary_cross_entropy_with_logits", classes=2, min=0.125, max=0.875)
    for step in range(0, 16, 4):
        run.activation("squash", "output", step, min=0.125, max=0.875)
    result = found(diagnosed(run), SOFTMAX)
    assert result.severity is Severity.WARNING
    assert result.layer == "squash"


@pytest.mark.parametrize(("low", "high"), [(0.25, 0.875), (0.125, 0.75)])
def test_a_gate_elsewhere_is_no_sigmoid_before_the_loss(
    chain: Chains, low: float, high: float
) -> None:
    run = chain(3).module("gate", type_="Sigmoid", depth=2, role="activation")
    given(run, "binary_cross_entropy_with_logits", classes=2, min=0.125, max=0.875)
    for step in range(0, 16, 4):
        run.activation("gate", "output", step, min=low, max=high)
    assert SOFTMAX in diagnosed(run, detectors=[SOFTMAX]).passed


@pytest.mark.parametrize(
    ("highest", "told"), [([0.97] * 4, True), ([0.97, 0.97, 0.97, 1.2], False)]
)
def test_values_that_fill_the_unit_interval_come_from_a_sigmoid_outside(
    chain: Chains,
    highest: list[float],
    told: bool,  # noqa: FBT001
) -> None:
    run = chain(3).losses(learning(120), every=4)
    op = "binary_cross_entropy_with_logits"
    for index, high in enumerate(highest):
        run.activation("", "logits", 4 * index, n=256, loss_op=op, n_units=4, min=0.03, max=high)
    result = diagnosed(run, detectors=[SOFTMAX])
    assert (SOFTMAX in result.passed) != told
    assert [finding.detector for finding in result.findings] == [SOFTMAX] * told


def test_one_odd_sample_is_no_rule(chain: Chains) -> None:
    run = given(chain(3), "cross_entropy", row_sum_error=0.0)
    run.activation("", "logits", 40, n=640, loss_op="cross_entropy", n_units=10, log_partition=3.0)
    assert SOFTMAX in diagnosed(run, detectors=[SOFTMAX]).passed


def counted(
    run: Chain,
    answers: Sequence[float],
    labels: Sequence[float],
    *,
    steps: Sequence[int] = range(0, 120, 4),
    op: str = "cross_entropy",
) -> Chain:
    """Examples per class that were answered and asked for in each sampled batch."""
    common = {"loss_op": op, "n_units": len(labels), "n_profile": len(labels)}
    for step in steps:
        for site, counts in (("logits", answers), ("target", labels)):
            profile = np.array(counts, dtype=np.float32).tobytes()
            run.activation("", site, step, n=64, profile=profile, **common)
    return run


EVEN = [16.0, 16.0, 16.0, 16.0]


def collapse(run: Chain) -> object:
    """What the rule alone says: a finding, a reason, or None."""
    diagnosis = diagnosed(run, detectors=[COLLAPSE])
    return next(iter((*diagnosis.findings, *diagnosis.not_checked)), None)


def test_one_answer_to_four_classes_is_a_collapse_and_follows_from_not_learning(
    chain: Chains,
) -> None:
    run = counted(chain(3).losses(stalled(1.4, 120), every=4), [0, 64, 0, 0], EVEN)
    result = found(diagnosed(run), COLLAPSE)
    assert result.severity is Severity.WARNING
    assert result.value == 1.0
    assert result.evidence["class"] == 1
    assert result.evidence["label_share"] == pytest.approx(0.25)
    assert result.evidence["n_examples"] == 5 * 128
    assert (result.first_step, result.last_step) == (
        24,
        116,
    )  # windows of two samples; that of step 20 is left over
    assert result.consequence_of == "loss_not_decreasing"


def test_a_run_that_learns_is_told_and_one_that_has_ended_well_is_warned(chain: Chains) -> None:
    curves = {"info": learning(120, end=1.6), "warning": [*learning(60), *[0.1] * 60]}
    for severity, losses in curves.items():
        run = counted(chain(3).losses(losses, every=4), [64, 0, 0, 0], EVEN)
        assert found(diagnosed(run), COLLAPSE).severity == severity


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        ([61, 1, 1, 1], EVEN),  # 0.953 of the answers
        ([64, 0, 0, 0], [59, 3, 1, 1]),  # 0.92 of the labels
        ([64, 0, 0, 0], [52, 4, 4, 4]),  # 0.81 of the labels
        (EVEN, EVEN),
    ],
)
def test_other_answers_and_common_classes_pass(
    chain: Chains, answers: Sequence[float], labels: Sequence[float]
) -> None:
    run = chain(3).losses(stalled(1.4, 120), every=4)
    assert collapse(counted(run, answers, labels)) is None


def test_the_majority_is_the_best_answer_where_inputs_tell_little(chain: Chains) -> None:
    run = counted(chain(3).losses(stalled(1.0, 120), every=4), [64, 0, 0, 0], [40, 8, 8, 8])
    assert found(diagnosed(run), COLLAPSE).severity is Severity.INFO


def test_a_collapse_that_has_gone_is_none(chain: Chains) -> None:
    run = counted(
        chain(3).losses(stalled(1.4, 120), every=4), [64, 0, 0, 0], EVEN, steps=range(0, 108, 4)
    )
    assert collapse(counted(run, EVEN, EVEN, steps=range(108, 120, 4))) is None


def test_data_sorted_by_class_is_answered_rightly(chain: Chains) -> None:
    run = chain(3).losses(stalled(1.4, 192), every=4)
    for start in (0, 96):
        for label in range(4):
            own = [64.0 if index == label else 0.0 for index in range(4)]
            first = start + 24 * label
            counted(run, own, own, steps=range(first, first + 24, 4))
    assert collapse(run) is None


def test_answers_at_ignored_positions_do_not_count(chain: Chains) -> None:
    """Ninety percent of the positions are padding, where anything may be answered."""
    run = chain(3).losses(stalled(1.4, 120), every=4)
    assert collapse(counted(run, [636, 2, 1, 1], EVEN)) is None


def test_too_few_examples_and_losses_of_many_entries_are_not_checked(chain: Chains) -> None:
    few = chain(3).losses(stalled(1.4, 120), every=4)
    counted(few, [64, 0, 0, 0], EVEN, steps=range(20, 52, 4))
    assert "4 windows of 128 examples" in not_checked(diagnosed(few), COLLAPSE).reason
    dense = chain(3).losses(stalled(0.69, 120), every=4)
    op = "binary_cross_entropy_with_logits"
    counted(dense, [640, 0], [448, 192], op=op)
    assert "0 windows" in not_checked(diagnosed(dense), COLLAPSE).reason
