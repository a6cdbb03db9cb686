"""Which remedies a few replays with all of them show to change nothing."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.requests.trial_report import TrialReport
from telemetry.trials.observed import Missing, Observed
from telemetry.trials.survey import FIRST_STEPS, without_effect

STEPS = 100
IDLE = tuple(f"idle-{number}" for number in range(6))
REFUSED = {"minimize": "no optimizer maximises"}


def _observed(report: TrialReport, *, last: float = 0.5) -> Observed:
    values = np.linspace(2.0, last, STEPS)
    losses = Series(steps=np.arange(STEPS), values=values, of_batches=True)
    return Observed(seed_offset=0, report=report, curves={"loss": losses})


CONTROL = _observed(TrialReport(run="r", n_steps=STEPS))


class Script:
    """A script in which remedies act from some step on.

    Args:
        acting: Step at which each of these acts first.
    """

    def __init__(self, acting: Mapping[str, int]) -> None:
        self.acting = acting
        self.asked: list[tuple[int, int]] = []

    def __call__(self, doses: tuple[str, ...], steps: int) -> Observed | Missing:
        self.asked.append((len(doses), steps))
        acting = {dose for dose in doses if self.acting.get(dose, steps) < steps}
        refusals = {dose: why for dose, why in REFUSED.items() if dose in doses}
        idle = tuple(dose for dose in doses if dose not in acting and dose not in refusals)
        report = TrialReport(run="r", n_steps=steps, refusals=refusals, idle=idle)
        return _observed(report, last=0.1 if acting else 0.5)


def _found(script: Callable[[tuple[str, ...], int], Observed | Missing]) -> set[str]:
    doses = ("lr/8", *IDLE, "minimize", "constant-lr")
    return set(without_effect(doses, CONTROL, script, steps=STEPS))


def test_what_acts_is_left_out_until_the_rest_changes_no_bit() -> None:
    script = Script({"lr/8": 0, "constant-lr": 50})
    assert _found(script) == {*IDLE, "minimize"}
    assert script.asked == [(9, FIRST_STEPS), (8, STEPS), (7, STEPS)]
    found = without_effect(("lr/8", *IDLE, "minimize"), CONTROL, script, steps=STEPS)
    assert found["minimize"] == Missing(reason=REFUSED["minimize"], is_refused=True)


def test_losses_that_differ_though_nothing_acted_prove_nothing() -> None:
    def script(doses: tuple[str, ...], steps: int) -> Observed:
        return _observed(TrialReport(run="r", n_steps=steps, idle=doses), last=0.4)

    assert _found(script) == set()


@pytest.mark.parametrize("doses", [("lr/8",), ("lr/8", "clip=1.0", "zero-grad")])
def test_a_few_remedies_are_run_each(doses: tuple[str, ...]) -> None:
    script = Script({})
    assert without_effect(doses, CONTROL, script, steps=STEPS) == {}
    assert script.asked == []


def test_a_script_that_fails_with_all_of_them_is_run_with_each() -> None:
    assert _found(lambda _doses, _steps: Missing(reason="it failed")) == set()
