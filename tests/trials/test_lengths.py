"""How long replays are, and what an interrupt leaves; what the replays record is made up."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import RunBuilder

from telemetry.compare.curves.align import Series
from telemetry.requests.trial_report import TrialReport
from telemetry.store.store import Store
from telemetry.trials import try_run
from telemetry.trials.children import Conditions, Ended, Job
from telemetry.trials.observed import Missing, Observed
from telemetry.trials.plan import Plan
from telemetry.trials.replay import CommandLine
from telemetry.trials.result import Outcome, Tries
from telemetry.trials.verdicts import Asked

N_STEPS = 400
LOSSES = np.linspace(2.0, 1.0, N_STEPS)
CAUSE = "loss_plateau"
DOSES = ("lr*8", "lr/8", "clip=1.0")


class Replays:
    """Replays in which a cause shows after so many steps.

    Args:
        shown_after: Steps.
        interrupted_at: The dose at whose judgement Ctrl-C is pressed.
    """

    def __init__(self, *, shown_after: int, interrupted_at: str = "") -> None:
        self.shown_after, self.interrupted_at = shown_after, interrupted_at
        self.lengths: list[int] = []

    def run_jobs(
        self,
        jobs: Sequence[Job],
        conditions: Conditions,
        *,
        n_jobs: int,
        done: Callable[[int, int], None],
    ) -> list[Ended]:
        del n_jobs
        done(len(jobs), len(jobs))
        self.lengths += [conditions.steps] * len(jobs)
        return [Ended(job=job, store=Path(), report=None, failure=None) for job in jobs]

    def observe(self, ended: Ended, *, steps: int, policy: object) -> Observed | Missing:
        del policy
        if self.interrupted_at and ended.job.dose == self.interrupted_at:
            raise KeyboardInterrupt
        values = LOSSES[:steps] * (0.5 if ended.job.dose else 1.0)
        values[0] = LOSSES[0]
        shown = {CAUSE} if steps >= self.shown_after and not ended.job.dose else set[str]()
        return Observed(
            seed_offset=ended.job.seed_offset,
            report=TrialReport(run="r", n_steps=steps, equal_steps=1, n_acts=1),
            curves={"loss": Series(steps=np.arange(steps), values=values, of_batches=True)},
            findings=frozenset(shown),
        )


@pytest.fixture
def carried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tries]:
    """`carried_out(replays, most_steps=400)`: the remedies tried on a run."""
    RunBuilder(tmp_path).losses(list(LOSSES)).write()
    store = Store.open(tmp_path)
    asked = tuple(Asked(dose=dose, changes="", treats=CAUSE) for dose in DOSES)
    plan = Plan(
        command=CommandLine(words=("python",), folder=tmp_path, variables={}),
        asked=asked,
        steps=100,
        most_steps=N_STEPS,
        seed_offsets=(0,),
        step_s=None,
    )

    def carry_out(replays: Replays, *, most_steps: int = N_STEPS) -> Tries:
        monkeypatch.setattr(try_run, "run_jobs", replays.run_jobs)
        monkeypatch.setattr(try_run, "observe", replays.observe)
        run = store.select("latest")
        return try_run.carry_out(store, run, replace(plan, most_steps=most_steps), jobs=1)

    return carry_out


@pytest.mark.parametrize(
    ("shown_after", "most_steps", "lengths"),
    [
        (50, 400, [100]),
        (150, 400, [100, 200]),
        (350, 400, [100, 200, 400]),
        (350, 300, [100, 200, 300]),
        (350, 100, [100]),
    ],
)
def test_the_control_is_lengthened_until_it_shows_the_cause(
    shown_after: int, most_steps: int, lengths: list[int], carried_out: Callable[..., Tries]
) -> None:
    replays = Replays(shown_after=shown_after)
    tries = carried_out(replays, most_steps=most_steps)
    assert replays.lengths == [*lengths, *[lengths[-1]] * len(DOSES)]
    assert tries.steps == lengths[-1]
    gone = True if shown_after <= lengths[-1] else None
    assert {one.finding_gone for one in tries.tried} == {gone}


def test_an_interrupt_while_replays_are_judged_keeps_those_that_were(
    carried_out: Callable[..., Tries],
) -> None:
    tries = carried_out(Replays(shown_after=50, interrupted_at="lr/8"))
    assert tries.interrupted
    assert {one.dose for one in tries.tried} == {"lr*8", "clip=1.0"}
    assert all(one.outcome is Outcome.CONFIRMED for one in tries.tried)
    assert tries.kept
