"""sorted_labels on labels that are given by class."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked

from telemetry.diagnose.finding import Severity

ID = "sorted_labels"


def labelled(
    run: Chain, batches: Sequence[Sequence[float]], *, samples: int = 8, every: int = 10
) -> Chain:
    """A run whose sampled batches, every so many steps, hold so many labels of each class."""
    for step, loss in enumerate(learning(every * len(batches))):
        run.add("steps", step=step, loss=loss, lr=0.1, flags=1, samples=samples)
    for place, counts in enumerate(batches):
        run.activation(
            "", "target", every * place, n=int(sum(counts)), sumsq=None, loss_op="cross_entropy",
            n_units=len(counts), n_profile=len(counts),
            profile=np.array(counts, dtype=np.float32).tobytes(),
        )  # fmt: skip
    return run


def test_batches_of_one_class_warn_in_a_run_that_learns(chain: Chains) -> None:
    result = found(diagnosed(labelled(chain(1), [[8, 0, 0], [0, 8, 0], [0, 0, 8]] * 3)), ID)
    assert (result.severity, result.first_step) == (Severity.WARNING, 0)
    assert "9 of 9 batches have labels of one class only, and the run sees 3" in result.message


@pytest.mark.parametrize(
    "batches",
    [
        [[4, 4, 0, 0], [0, 0, 4, 4]] * 10,  # two classes in each
        [[7, 1], [8, 0], [8, 0], [7, 1]] * 10,  # one class is most of the data
        [[2, 0], [0, 2], [1, 1], [1, 1]] * 8,  # as chance makes it
    ],
)
def test_batches_that_are_mixed_pass(chain: Chains, batches: list[list[int]]) -> None:
    samples = sum(batches[0])
    assert ID in diagnosed(labelled(chain(1), batches, samples=samples)).passed


@pytest.mark.parametrize(
    ("batches", "samples", "reason"),
    [
        ([[8, 0], [0, 8]] * 3, 8, "the classes of 6 batches are known"),
        ([[8, 0]] * 20, 8, "all labels are of one class"),
        ([[1, 0], [0, 1]] * 20, 1, "the classes of 0 batches are known"),
        ([[64, 0], [0, 64]] * 20, 8, "the classes of 0 batches are known"),  # places of samples
    ],
)
def test_too_little_is_not_checked(
    chain: Chains, batches: list[list[int]], samples: int, reason: str
) -> None:
    diagnosis = diagnosed(labelled(chain(1), batches, samples=samples))
    assert reason in not_checked(diagnosis, ID).reason


def followed(run: Chain, batches: Sequence[tuple[float, float]], **facts: object) -> Chain:
    """A run whose loss was written by hand: of each batch the first label and the spread."""
    size = facts.setdefault("n", 8)
    shapes = {"output_shape": f"{size}x3", "target_shape": f"{size}x3"}
    for step, loss in enumerate(learning(len(batches))):
        run.add("steps", step=step, loss=loss, lr=0.1, flags=1, samples=size)
    for step, (label, spread) in enumerate(batches):
        run.add(
            "loss_graphs",
            step=step,
            **{
                "call": 0, "pair": 0, "path": "", "operation": "mul", "head": "log_softmax",
                "is_output": True, "is_made": False, "is_broadcast": False, "n_outputs": 1,
                "target_min": 0.05, "target_max": 0.95, "first_label": label,
                "target_spread": spread, **shapes, **facts,
            },
        )  # fmt: skip
    return run


HALVES = [[2, 2, 2, 2, 0, 0, 0, 0]] * 20 + [[0, 0, 0, 0, 2, 2, 2, 2]] * 20


def test_half_of_the_classes_and_then_the_other_warn_if_they_come_back(chain: Chains) -> None:
    again = found(diagnosed(labelled(chain(1), HALVES * 2, every=1)), ID)
    assert again.severity is Severity.WARNING
    assert "each part of an epoch shows some of the 8 classes only" in again.message
    tasks = [[4 * (place // 2 == task) for place in range(8)] for task in (0, 1, 2, 3)]
    mixes = [[1 + own for own in task] for task in tasks for _ in range(20)]
    once = found(diagnosed(labelled(chain(2), mixes, samples=16, every=1)), ID)
    assert once.severity is Severity.INFO  # one task after another


def test_labels_that_change_at_first_and_are_mixed_later_pass(chain: Chains) -> None:
    """As those that a teacher guesses, which knows some classes before the others."""
    mixed = [[1] * 8] * 60
    assert ID in diagnosed(labelled(chain(1), HALVES[10:30] + mixed, every=1)).passed


@pytest.mark.parametrize("least", [3, 5])
def test_classes_of_batches_in_any_order_pass(chain: Chains, least: int) -> None:
    generator = np.random.default_rng(0)
    batches = [np.zeros(20) for _ in range(80)]
    for batch in batches:  # a sampler that draws some classes, and some samples of each
        batch[generator.permutation(20)[:least]] = 4
    result = diagnosed(labelled(chain(1), batches, samples=4 * least, every=1))
    assert ID in result.passed


@pytest.mark.parametrize(("period", "is_told"), [(40, True), (1, False)])
def test_targets_of_a_regression_that_are_in_order_are_told(
    chain: Chains, period: int, *, is_told: bool
) -> None:
    values = np.random.default_rng(0).permutation(80) / 40 if period == 1 else np.arange(80) % 40
    batches = [(float(value), 0.9) for value in values]
    result = diagnosed(followed(chain(1), batches, operation="mse_loss", target_shape="8x1"))
    told = [each.severity for each in result.findings if each.detector == ID]
    assert told == ([Severity.INFO] if is_told else [])


IN_ORDER = [(float(label), 0.0) for label in (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2)] * 2
AT_A_SEAM = [*IN_ORDER[:11], (2.0, 0.9)] * 3


@pytest.mark.parametrize(
    ("batches", "facts", "n_pure"),
    [
        (IN_ORDER, {}, 24),
        (AT_A_SEAM, {}, 33),
        (IN_ORDER, {"operation": "gather", "target_shape": "8x1"}, 24),
        (IN_ORDER * 4, {"n": 3}, 96),
        (IN_ORDER, {"operation": "mul", "head": "", "target_min": -1.0, "target_max": 1.0}, 24),
    ],
)
def test_batches_of_equal_targets_of_a_loss_by_hand_warn(
    chain: Chains, batches: list[tuple[float, float]], facts: dict[str, object], n_pure: int
) -> None:
    result = found(diagnosed(followed(chain(1), batches, **facts)), ID)
    assert result.severity is Severity.WARNING
    assert f"{n_pure} of {len(batches)} batches have equal targets only" in result.message


@pytest.mark.parametrize(
    ("batches", "facts"),
    [
        ([(0.0, 0.9), (1.0, 0.9)] * 20, {}),  # mixed
        ([(0.0, 0.0)] * 39 + [(1.0, 0.0)], {"n": 2}),  # one class is most of the data
        ([(0.0, 0.0), (1.0, 0.9), (1.0, 0.0), (0.0, 0.0)] * 8, {"n": 2}),  # as chance makes it
        ([(0.0, 0.0)] * 40, {}),  # one class alone
        (IN_ORDER, {"n": 1}),
        (IN_ORDER, {"is_made": True}),
        (IN_ORDER, {"target_max": 9.0}),  # weights
        (IN_ORDER, {"n_outputs": 2}),  # the other class may be in the other output
    ],
)
def test_equal_targets_that_are_no_order_pass(
    chain: Chains, batches: list[tuple[float, float]], facts: dict[str, object]
) -> None:
    result = diagnosed(followed(chain(1), batches, **facts))
    assert not any(each.detector == ID for each in result.findings)
