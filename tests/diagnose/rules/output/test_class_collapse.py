"""class_collapse on synthetic inputs of losses."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "class_collapse"


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
    diagnosis = diagnosed(run, detectors=[ID])
    return next(iter((*diagnosis.findings, *diagnosis.not_checked)), None)


def test_one_answer_to_four_classes_is_a_collapse_and_follows_from_not_learning(
    chain: Chains,
) -> None:
    run = counted(chain(3).losses(stalled(1.4, 120), every=4), [0, 64, 0, 0], EVEN)
    result = found(diagnosed(run), ID)
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
    falling = [2.3 - 0.006 * step for step in range(120)]
    curves = {"info": falling, "warning": [*learning(60), *[0.1] * 60]}
    for severity, losses in curves.items():
        run = counted(chain(3).losses(losses, every=4), [64, 0, 0, 0], EVEN)
        assert found(diagnosed(run), ID).severity == severity


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
    assert found(diagnosed(run), ID).severity is Severity.INFO


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
    assert "4 windows of 128 examples" in not_checked(diagnosed(few), ID).reason
    dense = chain(3).losses(stalled(0.69, 120), every=4)
    op = "binary_cross_entropy_with_logits"
    counted(dense, [640, 0], [448, 192], op=op)
    assert "0 windows" in not_checked(diagnosed(dense), ID).reason
