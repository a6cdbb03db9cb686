"""loss_plateau."""

import numpy as np
import pytest
from judged_runs import (
    Chains,
    asked,
    diagnosed,
    found,
    not_checked,
    stalled,
)

from telemetry.diagnose.finding import Severity

ID = "loss_plateau"


def plateau(*, fall: int, flat: int, level: float = 1.0, noise: float = 0.03) -> list[float]:
    """A loss that falls from 2.3 to a level and stays there."""
    return [*np.geomspace(2.3, level, fall), *stalled(level, flat, noise=noise)]


def test_a_loss_flat_for_most_of_the_run_is_told_with_its_rate(chain: Chains) -> None:
    run = chain(2).losses(plateau(fall=150, flat=450), lr=0.02)
    result = found(diagnosed(run), ID)
    assert result.severity is Severity.INFO
    assert result.first_step is not None
    assert 100 <= result.first_step <= 210
    assert result.last_step == 599
    assert f"since step {result.first_step}" in result.message
    assert "(0.02) by 10" in result.advice


@pytest.mark.parametrize(
    "losses",
    [
        plateau(fall=400, flat=200),  # shorter than half of the run
        plateau(fall=60, flat=120),  # fewer than 200 steps
        plateau(fall=150, flat=450, level=0.02),  # nothing is left to learn
    ],
    ids=["late", "short", "near zero"],
)
def test_other_plateaus_are_told_where_asked_for(chain: Chains, losses: list[float]) -> None:
    run = chain(2).losses(losses)
    assert ID in diagnosed(run).passed
    assert asked(run, ID).severity is Severity.INFO


def test_a_plateau_at_the_end_of_a_schedule_is_its_end(chain: Chains) -> None:
    run = chain(2).losses(plateau(fall=150, flat=450))
    for step, row in enumerate(run.rows["steps"]):
        row["lr"] = 0.1 * (1 + np.cos(np.pi * step / 600)) / 2
    assert ID in diagnosed(run).passed
    assert "stop here" in asked(run, ID).advice


def test_validation_that_improves_keeps_a_plateau_quiet(chain: Chains) -> None:
    steps = range(0, 600, 30)
    run = chain(2).losses(plateau(fall=150, flat=450))
    run.metric("val_accuracy", {step: 0.1 + step / 700 for step in steps})
    assert ID in diagnosed(run).passed
    assert "validation still improves" in asked(run, ID).advice
    still = chain(2).losses(plateau(fall=150, flat=450))
    still.metric("val_accuracy", {step: 0.6 + 0.01 * (step % 7) for step in steps})
    assert found(diagnosed(still), ID)


def test_a_falling_a_noisy_and_a_stalled_loss_are_no_plateau(chain: Chains) -> None:
    for losses in (
        list(np.linspace(2.3, 1.2, 600)),
        plateau(fall=150, flat=450, noise=0.2),  # a fall might hide in it
        stalled(2.3, 600),  # loss_not_decreasing
    ):
        alone = diagnosed(chain(2).losses(losses), detectors=[ID])
        assert alone.passed == (ID,)


def test_a_loss_that_does_not_measure_progress_is_not_checked(chain: Chains) -> None:
    signed = chain(2).losses(list(np.linspace(1.0, -5.0, 600)))
    assert "negative values" in not_checked(diagnosed(signed), ID).reason


def test_a_plateau_without_a_learning_rate_is_told_what_to_look_at(chain: Chains) -> None:
    still = chain(2).losses(plateau(fall=150, flat=450))
    for row in still.rows["steps"]:
        row["lr"] = None
    assert "the learning rate by 10" in found(diagnosed(still), ID).advice
