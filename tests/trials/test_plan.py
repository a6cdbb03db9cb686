"""What is tried, and for which finding of the run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from synthetic import RunBuilder

from telemetry.finding import Finding, Severity
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.trials import plan as planning
from telemetry.trials.plan import NothingToTry, Plan, plan_tries
from telemetry.trials.remedies import KnownRemedy, answers
from telemetry.trials.replay import CommandLine

LR = KnownRemedy(
    id="lr",
    changes="changes the rate",
    doses=("lr/8", "lr*8"),
    treats={"learning_rate_too_high": ("lr/8",)},
    same_loss=True,
)
INIT = KnownRemedy(
    id="init",
    changes="draws weights",
    doses=("init=he",),
    treats={"dead_units": ("init=he",)},
    same_loss=True,
)
ZERO = KnownRemedy(
    id="zero-grad",
    changes="clears the gradients",
    doses=("zero-grad",),
    treats={"gradients_not_cleared": ("zero-grad",)},
    same_loss=True,
    restores=True,
)
TOO_HIGH = Finding(
    detector="learning_rate_too_high",
    severity=Severity.ERROR,
    message="too high",
    advice="lower it",
    first_step=3,
)
KNOWN = {one.id: one for one in (LR, INIT, ZERO)}


class Planned(Protocol):
    """What would be run for findings and remedies that were named."""

    def __call__(
        self,
        findings: Sequence[Finding],
        *remedies: str,
        everything: bool = False,
        steps: int = 3,
        named: int | None = None,
        step_s: float | None = None,
        seeds: int = 2,
    ) -> Plan: ...


@pytest.fixture
def example_run(tmp_path: Path) -> tuple[Store, Run]:
    RunBuilder(tmp_path).losses([2.0, 1.9, 1.8]).write()
    store = Store.open(tmp_path)
    return store, store.select("latest")


@pytest.mark.parametrize(
    ("dose", "detector", "expected"),
    [
        ("lr/8", "learning_rate_too_high", True),
        ("lr[1]/100", "learning_rate_too_high", True),
        ("lr*0.1", "learning_rate_too_high", True),
        ("lr*8", "learning_rate_too_high", False),
        ("lr/0.1", "learning_rate_too_high", False),
        ("lr/8", "dead_units", False),
        ("init=he", "dead_units", True),
        ("init=xavier", "dead_units", False),
        ("zero-grad", "gradients_not_cleared", True),
    ],
)
def test_a_dose_answers_a_finding_in_whose_direction_it_goes(
    dose: str, detector: str, *, expected: bool
) -> None:
    assert answers(KNOWN, dose, detector) is expected


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, example_run: tuple[Store, Run]) -> Planned:
    """`planned(findings, remedies)`: what would be run."""
    command = CommandLine(words=("python", "train.py"), folder=Path("/code"), variables={})
    monkeypatch.setattr(planning, "command_line", lambda *_, **__: command)
    monkeypatch.setattr(planning, "known_remedies", lambda *_: KNOWN)

    def plan(
        findings: Sequence[Finding],
        *remedies: str,
        everything: bool = False,
        steps: int = 3,
        named: int | None = None,
        step_s: float | None = None,
        seeds: int = 2,
    ) -> Plan:
        monkeypatch.setattr(planning, "findings_of", lambda *_: findings)
        monkeypatch.setattr(planning, "_step_s", lambda *_: step_s)
        store, run = example_run
        monkeypatch.setattr(Run, "steps", steps)
        return plan_tries(
            store, run, remedies=remedies, everything=everything, seeds=seeds, steps=named
        )

    return plan


def test_a_remedy_that_was_named_is_for_a_finding_as_well(planned: Planned) -> None:
    plan = planned([TOO_HIGH], "lr/16", "zero-grad")
    assert [(one.dose, one.treats) for one in plan.asked] == [
        ("lr/16", "learning_rate_too_high"),
        ("zero-grad", None),
    ]
    assert plan.asked[1].restores
    assert not plan.asked[0].restores


def test_the_battery_holds_what_causes_ask_for_first(planned: Planned) -> None:
    cause = replace(TOO_HIGH, detector="gradients_not_cleared")
    consequence = replace(TOO_HIGH, consequence_of="gradients_not_cleared")
    plan = planned([consequence, cause], everything=True)
    assert [(one.dose, one.treats) for one in plan.asked] == [
        ("zero-grad", "gradients_not_cleared"),
        ("lr/8", None),
        ("lr*8", None),
        ("init=he", None),
    ]


@pytest.mark.parametrize(
    ("first_step", "steps", "expected"),
    [(None, 400, 100), (3, 400, 100), (150, 400, 210), (350, 400, 400), (0, 4000, 800)],
)
def test_a_replay_goes_on_after_the_finding_has_begun(
    first_step: int | None, steps: int, expected: int, planned: Planned
) -> None:
    plan = planned([replace(TOO_HIGH, first_step=first_step)], steps=steps)
    assert plan.steps == expected
    assert plan.most_steps == steps
    assert plan.causes == {"learning_rate_too_high"}


def test_a_length_that_was_named_is_kept(planned: Planned) -> None:
    plan = planned([TOO_HIGH], steps=400, named=30)
    assert (plan.steps, plan.most_steps) == (30, 30)


def test_all_replays_together_stay_within_their_time(planned: Planned) -> None:
    few = planned([TOO_HIGH], steps=100_000, step_s=0.01)
    many = planned([TOO_HIGH], everything=True, steps=100_000, step_s=0.01, seeds=8)
    assert few.most_steps == 6000
    assert many.n_replays == 40
    assert many.most_steps == 1100
    assert many.cost_s <= 600


def test_a_cause_without_a_remedy_is_named(planned: Planned) -> None:
    with pytest.raises(NothingToTry, match="no remedy is known for constant_output"):
        planned([replace(TOO_HIGH, detector="constant_output")])
    with pytest.raises(NothingToTry, match="names no cause"):
        planned([])
