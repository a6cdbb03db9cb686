"""What the user measures can contradict the loss."""

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, found, not_checked, stalled

from telemetry.diagnose.finding import Severity

ID = "loss_not_decreasing"


def measured(run: Chain, name: str, values: list[float], *, every: int = 20) -> Chain:
    return run.metric(name, {every * i + every - 1: value for i, value in enumerate(values)})


def rising(n: int, start: float, end: float, noise: float = 0.0) -> list[float]:
    own = np.linspace(start, end, n) + noise * np.random.default_rng(0).standard_normal(n)
    return [float(value) for value in own]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("val_corr", rising(10, 0.05, 0.12, 0.003)),
        ("val_loss", rising(10, 2.23, 2.05, 0.005)),
        ("val_accuracy", rising(10, 0.3, 0.6, 0.02)),
    ],
)
def test_an_evaluation_that_becomes_better_contradicts_a_loss_that_stays(
    chain: Chains, name: str, values: list[float]
) -> None:
    run = measured(chain(2).losses(stalled(5.0, 200)), name, values)
    diagnosis = diagnosed(run)
    assert f"{name} went from" in not_checked(diagnosis, ID).reason
    assert diagnosis.findings == ()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("val_accuracy", [0.10, 0.09, 0.11, 0.10, 0.12, 0.09, 0.11, 0.10, 0.11, 0.12]),  # chance
        ("val_loss", rising(10, 2.30, 2.28)),  # less than 3 %
        ("val_accuracy", [*rising(5, 0.3, 0.6), *rising(5, 0.6, 0.3)]),  # lost again
        ("temperature", rising(10, 1.0, 0.1)),  # says nothing of its direction
    ],
)
def test_what_stays_or_is_no_measure_contradicts_nothing(
    chain: Chains, name: str, values: list[float]
) -> None:
    run = measured(chain(2).losses(stalled(5.0, 200)), name, values)
    assert found(diagnosed(run), ID).severity is Severity.WARNING


def test_a_guess_of_classes_is_no_matter_of_the_metric_alone(chain: Chains) -> None:
    """The loss of a known kind has a level: far above it a better accuracy does not excuse it."""
    run = chain(2).losses(list(np.linspace(2.3, 9.0, 200))).logits(0).logits(1)
    measured(run, "val_accuracy", rising(10, 0.1, 0.4))
    assert found(diagnosed(run), ID).severity is Severity.WARNING


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("val_loss", rising(10, 2.6, 2.31), True),  # to the level of guessing, ln 10
        ("val_loss", rising(10, 2.6, 2.1), False),
        ("val_loss", rising(10, 0.26, 0.21), True),  # in another unit
        ("val_accuracy", rising(10, 0.1, 0.2), True),  # of the commonest class
    ],
)
def test_a_classifier_must_be_evaluated_below_the_level_of_guessing(
    chain: Chains,
    name: str,
    values: list[float],
    told: bool,  # noqa: FBT001 - a case
) -> None:
    run = chain(2).losses(stalled(2.3, 200)).logits(0).logits(1)
    names = {f.detector for f in diagnosed(measured(run, name, values)).findings}
    assert (ID in names) is told


def test_returns_that_rise_while_an_error_of_unknown_level_does(chain: Chains) -> None:
    run = chain(2).losses(list(np.linspace(10.0, 60.0, 200)))
    run.metric("episode_return", dict(enumerate(rising(200, 20, 90, 5.0))), phase="train")
    diagnosis = diagnosed(run)
    assert diagnosis.state == "unknown"
    assert "does not measure progress" in not_checked(diagnosis, ID).reason
    assert {finding.severity for finding in diagnosis.findings} <= {Severity.INFO}


def test_the_names_of_a_policy_and_of_its_values_say_that_the_loss_measures_nothing(
    chain: Chains,
) -> None:
    run = chain(2).losses(stalled(43.0, 200))
    for name in ("policy_loss", "value_loss"):
        run.metric(name, dict(enumerate(stalled(20.0, 200))), phase="train")
    assert "suggest reinforcement learning" in not_checked(diagnosed(run), ID).reason


@pytest.mark.parametrize(("start", "is_main"), [(0.9, True), (0.3, False)])
def test_the_main_part_of_a_loss_falls_while_another_grows(
    chain: Chains,
    start: float,
    is_main: bool,  # noqa: FBT001 - a case
) -> None:
    losses = np.concatenate([np.linspace(1.0, 8.0, 100), np.linspace(8.0, 2.5, 100)])
    run = chain(2).losses([float(loss) for loss in losses])
    part = start * np.exp(-np.arange(200) / 60)
    run.metric("reconstruction", {i: float(v) for i, v in enumerate(part)}, phase="train")
    severities = {f.severity for f in diagnosed(run).findings}
    assert (severities <= {Severity.INFO}) is is_main
