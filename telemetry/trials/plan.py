"""What will be run: which remedies, for how many steps and seeds, and what that costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import UsageError
from telemetry.finding import Finding
from telemetry.format.run_loss import WINDOW_SHARE
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.trials.remedies import (
    KnownRemedy,
    answers,
    battery,
    known_remedies,
    name_of,
    treating,
)
from telemetry.trials.replay import CommandLine, command_line
from telemetry.trials.verdicts import Asked

LEAST_STEPS = 100  # where the run has as many
RUN_SHARE = WINDOW_SHARE  # of the steps of a long run
# After its first step a finding goes on for so many, or this share of what was left of the run, so
# that it shows in the control and its absence with a remedy: within these a rule names a fault.
SHOWN_STEPS, SHOWN_SHARE = 60, 0.2
LONGEST_S = 60.0  # of one replay, by the recorded step times
COMMAND_S = 600.0  # of all replays, one after the other: five minutes on two cores
FEWEST_STEPS = 20  # however long they take
START_S = 4.0  # until a script that imports torch and telemetry trains; measured on two slow cores
SEED_STRIDE = 1000  # between the seeds of two pairs; scripts count their own in ones
STEP_TIME_SQL = """
SELECT
    median(step_s) AS step_s
FROM steps
WHERE run = $run
    AND step_s IS NOT NULL
"""


class NothingToTry(UsageError):  # noqa: N818 - named after what the user sees
    """The diagnosis asks for no remedy; the message says why, and how to try some."""

    exit_code = 3  # as where no remedy was confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be run.

    Attributes:
        command: What is started again.
        asked: The remedies, in the order in which they are run.
        steps: Optimizer steps of each replay.
        most_steps: To which these are raised while the control does not show the causes.
        seed_offsets: One a pair; the first is 0.
        step_s: Median of the recorded step times; None where none was recorded.
        policy: How the run was diagnosed, and replays are.
    """

    command: CommandLine
    asked: tuple[Asked, ...]
    steps: int
    seed_offsets: tuple[int, ...]
    step_s: float | None
    most_steps: int
    policy: Policy = DEFAULT_POLICY

    @property
    def causes(self) -> frozenset[str]:
        """The findings that the remedies are for."""
        return frozenset(one.treats for one in self.asked if one.treats is not None)

    @property
    def n_replays(self) -> int:
        """With those of the control."""
        return (len(self.asked) + 1) * len(self.seed_offsets)

    @property
    def cost_s(self) -> float:
        """Estimated seconds, one replay after the other."""
        return self.n_replays * (START_S + self.steps * (self.step_s or 0.0))

    def to_json(self) -> Mapping[str, Json]:
        """Body of `try --dry-run --json`."""
        return {
            "command": list(self.command.words),
            "folder": str(self.command.folder),
            "remedies": [{"dose": one.dose, "treats": one.treats} for one in self.asked],
            "steps": self.steps,
            "most_steps": self.most_steps,
            "seed_offsets": list(self.seed_offsets),
            "n_replays": self.n_replays,
            "cost_s": self.cost_s,
        }


def plan_tries(  # noqa: PLR0913 - each keyword is one option
    store: Store,
    run: Run,
    *,
    remedies: Sequence[str] = (),
    everything: bool = False,
    seeds: int = 2,
    steps: int | None = None,
    changed_code: bool = False,
    trust: bool = False,
    policy: Policy = DEFAULT_POLICY,
) -> Plan:
    """What `try_remedies` would run; arguments as there.

    Raises:
        UsageError: the run cannot be replayed, a remedy is none, or nothing is to be tried
            (NothingToTry).
    """
    if seeds < 1 or (steps is not None and steps < 1):
        raise UsageError("seeds and steps are whole numbers of at least 1.")
    if not run.steps:
        raise UsageError(f"{run.name} ({run.short}) has recorded no step, so nothing can be tried.")
    command = command_line(run, changed_code=changed_code, trust=trust)
    known = known_remedies(remedies)
    findings = findings_of(store, run, policy)
    causes = [finding for finding in findings if finding.consequence_of is None]
    asked = _asked(known, remedies, causes, everything=everything)
    if not asked:
        names = ", ".join(finding.detector for finding in causes)
        raise NothingToTry(
            (f"no remedy is known for {names}" if causes else "the diagnosis names no cause")
            + "; name a remedy with --remedy, as --remedy lr/8, or use --all to try every one."
        )
    step_s = _step_s(store, run)
    most = _most_steps(run, step_s, n_replays=(len(asked) + 1) * seeds)
    wanted = min(most, _wanted_steps(run, causes, step_s))
    return Plan(
        command=command,
        asked=asked,
        steps=wanted if steps is None else min(steps, run.steps),
        most_steps=most if steps is None else min(steps, run.steps),
        seed_offsets=tuple(SEED_STRIDE * number for number in range(seeds)),
        step_s=step_s,
        policy=policy,
    )


def _asked(
    known: Mapping[str, KnownRemedy],
    remedies: Sequence[str],
    causes: Sequence[Finding],
    *,
    everything: bool,
) -> tuple[Asked, ...]:
    found = [finding.detector for finding in causes]
    treated = [dose for detector in found for dose in treating(known, detector)]
    wanted = [*(remedies or treated), *(battery(known) if everything else ())]
    return tuple(
        Asked(
            dose=dose,
            changes=known[name_of(dose)].changes,
            treats=next((one for one in found if answers(known, dose, one)), None),
            same_loss=known[name_of(dose)].same_loss,
            restores=known[name_of(dose)].restores,
        )
        for dose in dict.fromkeys(wanted)
    )


def _wanted_steps(run: Run, causes: Sequence[Finding], step_s: float | None) -> int:
    """Until every cause must have shown; fewer than the start takes would save nothing."""
    shown = max((_shown_by(finding, run.steps) for finding in causes), default=0)
    as_start = int(START_S / step_s) if step_s else 0
    return max(LEAST_STEPS, round(RUN_SHARE * run.steps), shown, as_start)


def _shown_by(finding: Finding, n_steps: int) -> int:
    first = finding.first_step or 0
    return first + max(SHOWN_STEPS, round(SHOWN_SHARE * (n_steps - first)))


def _most_steps(run: Run, step_s: float | None, *, n_replays: int) -> int:
    """What the time allows of one replay and of all."""
    if not step_s:
        return run.steps
    affordable_s = min(LONGEST_S, COMMAND_S / n_replays - START_S)
    return min(run.steps, max(FEWEST_STEPS, int(affordable_s / step_s)))


def _step_s(store: Store, run: Run) -> float | None:
    with store.session([run]) as session:
        (row,) = session.query(STEP_TIME_SQL, {"run": run.run}).records()
    found = row["step_s"]
    return float(found) if isinstance(found, float) else None
