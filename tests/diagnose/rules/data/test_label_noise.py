"""label_noise."""

from collections.abc import Sequence

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, learning, not_checked
from sketched import forwards, samples, sketch

from telemetry.diagnose.finding import Finding, Severity

N = 20  # evaluations
TRAIN, OTHER = samples(1000, 0), samples(400, 1)


def curve(*points: float) -> list[float]:
    """Values of the evaluations through points that are evenly spread."""
    places = np.linspace(0, N - 1, len(points))
    return [float(value) for value in np.interp(np.arange(N), places, points)]


# Measured: a network of three layers, 40 % of the training labels drawn anew.
NOISY_TRAIN, NOISY_VALIDATION = curve(0.4, 0.64, 0.75, 0.87), curve(0.6, 0.94, 0.85, 0.74)


def evaluated(
    run: Chain,
    train: Sequence[float],
    validation: Sequence[float],
    *,
    names: tuple[str, str] = ("train_accuracy", "val_accuracy"),
    alike: bool = True,
) -> Chain:
    """A run of ten classes; `alike`: both sets are evaluated without gradient."""
    for step, loss in enumerate(learning(400)):
        run.add("steps", step=step, loss=loss, lr=0.1, samples=50, flags=1)
    steps = [20 * index + 19 for index in range(N)]
    for name, phase, values in ((names[0], "train", train), (names[1], "eval", validation)):
        run.metric(name, dict(zip(steps, values, strict=False)), phase=phase)
    run.logits(0)
    sketch(run, 399, "train", [TRAIN])
    parts = [*forwards(TRAIN), *forwards(OTHER)] if alike else forwards(OTHER)
    sketch(run, 399, "both", parts)
    return run


def finding(run: Chain) -> Finding | None:
    result = diagnosed(run, detectors=["label_noise"])
    assert not result.not_checked
    return next(iter(result.findings), None)


def test_validation_that_is_better_first_and_worse_later_is_found(chain: Chains) -> None:
    result = found(diagnosed(evaluated(chain(2), NOISY_TRAIN, NOISY_VALIDATION)), "label_noise")
    assert result.severity is Severity.WARNING
    assert result.value == pytest.approx(0.3, abs=0.03)
    assert result.evidence["n_validation"] == 400
    assert "wrong or very hard" in result.message


@pytest.mark.parametrize(
    "names",
    [("train/acc", "val/acc"), ("Train Accuracy", "Test Accuracy"), ("acc_train", "acc_valid")],
)
def test_the_metrics_of_both_sets_are_found_by_their_names(
    chain: Chains, names: tuple[str, str]
) -> None:
    run = evaluated(chain(2), NOISY_TRAIN, NOISY_VALIDATION, names=names)
    result = finding(run)
    assert result is not None
    assert result.value == pytest.approx(0.3, abs=0.03)


def test_shares_in_percent_are_understood(chain: Chains) -> None:
    train = [100 * value for value in NOISY_TRAIN]
    validation = [100 * value for value in NOISY_VALIDATION]
    result = finding(evaluated(chain(2), train, validation))
    assert result is not None
    assert result.value == pytest.approx(0.3, abs=0.03)


HEALTHY: dict[str, tuple[list[float], list[float]]] = {
    "clean labels": (curve(0.5, 0.9, 0.98, 1.0), curve(0.52, 0.9, 0.96, 0.97)),
    "an easier validation set": (curve(0.4, 0.7, 0.8, 0.85), curve(0.5, 0.85, 0.94, 0.94)),
    "overfitting": (curve(0.5, 0.9, 1.0, 1.0), curve(0.5, 0.88, 0.8, 0.78)),
    "noise in both sets": (curve(0.4, 0.6, 0.7, 0.85), curve(0.4, 0.6, 0.55, 0.5)),
    "a fall within chance": (curve(0.4, 0.75, 0.85, 0.95), curve(0.6, 0.92, 0.9, 0.89)),
    # One class is common in validation and not in training: to answer it always looks good there.
    "another balance of classes": (curve(0.1, 0.1, 0.6, 0.9), curve(0.3, 0.95, 0.9, 0.8)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_only_looks_like_it_passes(chain: Chains, name: str) -> None:
    assert finding(evaluated(chain(2), *HEALTHY[name])) is None


def test_training_metrics_that_may_be_of_training_mode_are_not_judged(chain: Chains) -> None:
    """Dropout alone makes a network worse on the samples that it is trained on."""
    run = evaluated(chain(2), NOISY_TRAIN, NOISY_VALIDATION, alike=False)
    assert "without gradient and dropout" in not_checked(diagnosed(run), "label_noise").reason


def test_without_sketches_the_mode_is_not_known(chain: Chains) -> None:
    run = evaluated(chain(2), NOISY_TRAIN, NOISY_VALIDATION)
    del run.rows["sketches"]
    assert "may be a running average" in not_checked(diagnosed(run), "label_noise").reason


def test_few_evaluations_or_one_set_alone_are_not_judged(chain: Chains) -> None:
    few = evaluated(chain(2), NOISY_TRAIN[:7], NOISY_VALIDATION[:7])
    assert "together 7 times" in not_checked(diagnosed(few), "label_noise").reason
    alone = evaluated(chain(2), [], NOISY_VALIDATION)
    entry = not_checked(diagnosed(alone), "label_noise")
    assert "train_accuracy" in entry.reason
    assert not entry.absent


def test_a_metric_that_is_no_share_of_right_answers_is_not_judged(chain: Chains) -> None:
    names = ("train_score", "val_score")
    run = evaluated(chain(2), NOISY_TRAIN, NOISY_VALIDATION, names=names)
    entry = not_checked(diagnosed(run), "label_noise")
    assert "together 0 times" in entry.reason
    assert entry.absent
