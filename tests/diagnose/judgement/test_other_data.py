"""A loss of other data than before."""

import numpy as np
import pytest
from judged_runs import Chains, diagnosed, found, not_checked, stalled

from telemetry.diagnose.finding import Severity
from telemetry.diagnose.judgement.other_data import forwards_more, meets_new_classes, targets_grow

ID = "loss_not_decreasing"


@pytest.mark.parametrize(
    ("sizes", "grows"),
    [
        ([1.0, 1.1, 1.5, 2.0, 2.2, 3.0, 3.1], True),
        ([1.0, 0.1, 1.4, 1.3, 0.2, 2.5, 2.0, 0.3, 3.0], False),  # single fixed targets
        ([1.0, 1.1, 1.2, 1.2, 1.3, 1.4], False),  # 1.29 times: less than a third more
        ([1.0, 1.0, 5.0, 5.0, 2.0, 2.0], False),  # not from third to third
        ([1.0, 2.0, 3.0], False),  # too few
    ],
)
def test_targets_grow_from_third_to_third(sizes: list[float], *, grows: bool) -> None:
    assert targets_grow(np.array(sizes)) is grows


def test_a_stage_forwards_half_as_much_again() -> None:
    samples = np.array([64.0] * 40 + [96.0] * 20)
    assert forwards_more(samples, 40, recent=30)
    assert not forwards_more(samples, 20, recent=20)


def test_new_classes_are_a_third_of_the_labels() -> None:
    old, new = np.float32([8, 8, 0]), np.float32([5, 5, 6])
    steps = np.array([0, 5, 10])
    labels = [old.tobytes(), old.tobytes(), new.tobytes()]
    assert meets_new_classes(steps, labels, first=8, until=20)
    assert not meets_new_classes(steps, [*labels[:2], labels[0]], first=8, until=20)
    assert not meets_new_classes(steps[1:], labels[1:], first=8, until=20)  # one sample before


@pytest.mark.parametrize(("growth", "told"), [(1.0, True), (1.1, False)])
def test_an_error_of_targets_that_the_model_makes_is_not_judged(
    chain: Chains,
    growth: float,
    told: bool,  # noqa: FBT001 - a case
) -> None:
    run = chain(2).losses(stalled(3.0, 200), every=20)
    for index, step in enumerate(range(0, 200, 20)):
        squares = 64 * growth ** (2 * index)
        shown = {"loss_op": "mse_loss", "n": 64, "sum": 64 * growth**index, "sumsq": squares}
        run.activation("", "target", step, **shown)
    diagnosis = diagnosed(run)
    if told:
        assert found(diagnosis, ID).severity is not Severity.INFO
    else:
        assert "the targets grow" in not_checked(diagnosis, ID).reason
