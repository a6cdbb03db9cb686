"""Tries remedies on a recorded training: runs it again, unchanged and changed, and compares."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import TelemetryError
from telemetry.json_values import json_integer, json_object
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.trials.children import Conditions, Ended, Interrupted, Job, run_jobs
from telemetry.trials.observed import (
    Missing,
    Observed,
    curves_of,
    first_difference,
    observe,
)
from telemetry.trials.order import in_order
from telemetry.trials.plan import START_S, Plan, plan_tries
from telemetry.trials.result import Tried, Tries
from telemetry.trials.stored import keep_tries
from telemetry.trials.survey import without_effect
from telemetry.trials.verdicts import corrected, judge
from telemetry.trials.workspace import check_size

Progress = Callable[[int, int], None]
PATIENCE = 20.0  # times the estimated duration, after which a replay is taken to hang
LEAST_PATIENCE_S = 120.0


class NotReplayed(TelemetryError):  # noqa: N818 - named after what the user sees
    """The script fails without a remedy as well."""

    exit_code = 1


def try_remedies(  # noqa: PLR0913 - each keyword is one option
    store: Store,
    run: Run,
    *,
    remedies: Sequence[str] = (),
    everything: bool = False,
    seeds: int = 2,
    steps: int | None = None,
    jobs: int | None = None,
    timeout_s: float | None = None,
    in_place: bool = False,
    changed_code: bool = False,
    trust: bool = False,
    policy: Policy = DEFAULT_POLICY,
) -> Tries:
    """Does a remedy help? The training is run again with it and without.

    The script that was recorded runs as it was started, in a copy of its working directory, and
    ends after some steps. Only this user's own runs are followed.

    Args:
        store: Where the run lies; the verdicts are stored there, with the run.
        run: A run whose script can be started again.
        remedies: What to try, as `lr/8`; none: those of the causes that the diagnosis names.
        everything: Try every remedy that there is.
        seeds: Pairs of replays; the second and later ones add to the seeds that the script sets.
        steps: Optimizer steps of a replay; None: until the causes have shown.
        jobs: Replays side by side; None: as the cores allow.
        timeout_s: After which a replay is ended; None: far longer than it should take.
        in_place: Run in the working directory itself and not in a copy.
        changed_code: Also if the script has changed since.
        trust: Also if this user has not recorded the run.
        policy: How the run is diagnosed.

    Raises:
        UsageError: the run cannot be replayed, or a remedy is none.
        NotReplayed: the unchanged replay fails.
    """
    plan = plan_tries(
        store,
        run,
        remedies=remedies,
        everything=everything,
        seeds=seeds,
        steps=steps,
        changed_code=changed_code,
        trust=trust,
        policy=policy,
    )
    return carry_out(store, run, plan, jobs=jobs, timeout_s=timeout_s, in_place=in_place)


def carry_out(
    store: Store,
    run: Run,
    plan: Plan,
    *,
    jobs: int | None = None,
    timeout_s: float | None = None,
    in_place: bool = False,
    progress: Progress = lambda _done, _of: None,
) -> Tries:
    """Run what was planned and judge it; `progress` is told how many replays of how many ended.

    Other arguments and errors are those of `try_remedies`.
    """
    if not in_place:
        check_size(plan.command.folder, store.path)
    expected_s = START_S + plan.most_steps * (plan.step_s or 0.0)
    with tempfile.TemporaryDirectory(prefix="telemetry-try-") as folder:
        conditions = Conditions(
            command=plan.command,
            steps=plan.steps,
            timeout_s=timeout_s or max(LEAST_PATIENCE_S, PATIENCE * expected_s),
            work=Path(folder),
            store=store.path,
            in_place=in_place,
        )
        return _Tryout(store, run, plan, conditions, _n_jobs(run, jobs), progress).result()


class _Tryout:
    """One command at work."""

    def __init__(
        self,
        store: Store,
        run: Run,
        plan: Plan,
        conditions: Conditions,
        n_jobs: int,
        progress: Progress,
    ) -> None:
        self._store, self._run, self._plan = store, run, plan
        self._conditions, self._n_jobs = conditions, n_jobs
        self._progress = progress
        self._n_done, self._n_replays = 0, plan.n_replays
        self._steps = plan.steps
        self._is_interrupted = False
        self._same_seeds = 0

    def result(self) -> Tries:
        """Controls first: nothing can be said where they are not the recorded training."""
        control = self._controls()
        parted = self._parted(control[0])
        if parted is not None:
            return Tries(
                tried=(),
                steps=self._steps,
                seed_offsets=(0,),
                first_difference=parted,
                apart=self._apart(control[0]),
            )
        offsets = tuple(one.seed_offset for one in control)
        treated = self._treated(control)
        tried = in_order(corrected(self._judged(control, treated)))
        found = Tries(
            tried=tuple(tried),
            steps=self._steps,
            seed_offsets=offsets,
            same_seeds=self._same_seeds,
            interrupted=self._is_interrupted,
        )
        return keep_tries(self._run, found)

    def _controls(self) -> list[Observed]:
        """Of twice the length each time, until they show what the remedies are for."""
        found = self._controls_of_length()
        while self._steps < self._plan.most_steps and not self._is_shown(found[0]):
            self._steps = min(2 * self._steps, self._plan.most_steps)
            self._conditions = replace(self._conditions, steps=self._steps)
            self._n_replays += len(self._plan.seed_offsets)
            found = self._controls_of_length()
        return found

    def _is_shown(self, control: Observed) -> bool:
        """A replay that parts from the recorded run is judged no further, so it may be short."""
        if control.findings is None or self._parted(control) is not None:
            return True
        return self._plan.causes <= control.findings

    def _parted(self, control: Observed) -> int | None:
        """First step whose loss is not that of the recorded run."""
        recorded = curves_of(self._store, self._run, self._steps)["loss"]
        losses = control.losses
        return None if losses is None else first_difference(recorded, losses, steps=len(losses))

    def _controls_of_length(self) -> list[Observed]:
        """One replay a seed; a seed that changes nothing is no other pair."""
        ended = self._run_jobs([Job(seed_offset=offset) for offset in self._plan.seed_offsets])
        seen = [self._observed(one) for one in sorted(ended, key=lambda one: one.job.seed_offset)]
        found: list[Observed] = []
        for one in seen:
            if isinstance(one, Missing):
                raise NotReplayed(
                    f"{self._run.name} ({self._run.short}) cannot be replayed: {one.reason} (a "
                    "replay has no standard input, and finds files as they are now)"
                )
            if not any(_repeats(one, other) for other in found):
                found.append(one)
        self._same_seeds = len(seen) - len(found)
        if not found or found[0].seed_offset:
            raise KeyboardInterrupt  # before there was anything to judge by
        return found

    def _apart(self, control: Observed) -> float:
        """How far the losses of two unchanged replays lie apart, relative to their size."""
        (ended,) = self._run_jobs([Job()])
        again = self._observed(ended)
        if isinstance(again, Missing) or control.losses is None or again.losses is None:
            return float("nan")
        n = min(len(control.losses), len(again.losses))
        one, other = control.losses.values[:n], again.losses.values[:n]
        return float(np.max(np.abs(one - other)) / (np.max(np.abs(one)) or 1.0))

    def _treated(self, control: Sequence[Observed]) -> dict[str, list[Observed | Missing]]:
        """By dose; those of an interrupted command that lack a seed are left out."""
        doses = [asked.dose for asked in self._plan.asked]
        known = without_effect(doses, control[0], self._surveyed, steps=self._steps)
        left = [dose for dose in doses if dose not in known]
        self._n_replays = self._n_done + len(left) * len(control)
        found: dict[str, list[Observed | Missing]] = {dose: [one] for dose, one in known.items()}
        jobs = [Job(dose=dose, seed_offset=one.seed_offset) for dose in left for one in control]
        for ended in self._run_jobs(jobs):
            with self._interruptible():
                found.setdefault(ended.job.dose, []).append(self._observed(ended))
        whole = {dose for dose in left if len(found.get(dose, ())) == len(control)}
        return {dose: seen for dose, seen in found.items() if dose in known or dose in whole}

    def _surveyed(self, doses: tuple[str, ...], steps: int) -> Observed | Missing:
        conditions = replace(self._conditions, steps=steps)
        ended = self._run_jobs([Job(surveyed=doses)], conditions)
        return self._observed(ended[0]) if ended else Missing(reason="interrupted")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C while a replay is judged leaves that one out, and keeps the others."""
        try:
            yield
        except KeyboardInterrupt:
            self._is_interrupted = True

    def _judged(
        self, control: Sequence[Observed], treated: dict[str, list[Observed | Missing]]
    ) -> list[Tried]:
        return [
            judge(asked, control, treated[asked.dose])
            for asked in self._plan.asked
            if asked.dose in treated
        ]

    def _observed(self, ended: Ended) -> Observed | Missing:
        """A diagnosis takes longer than a short replay: only where it can say something new."""
        is_control = not (ended.job.dose or ended.job.surveyed)
        has_acted = ended.report is not None and ended.report.n_acts > 0
        is_news = ended.job.seed_offset == 0 and (is_control or has_acted)
        policy = self._plan.policy if is_news and not ended.job.surveyed else None
        return observe(ended, steps=self._steps, policy=policy)

    def _run_jobs(self, jobs: Sequence[Job], conditions: Conditions | None = None) -> list[Ended]:
        if self._is_interrupted:
            return []

        def advance(done: int, _of: int) -> None:
            self._progress(self._n_done + done, max(self._n_replays, self._n_done + done))

        try:
            ended = run_jobs(
                jobs, conditions or self._conditions, n_jobs=self._n_jobs, done=advance
            )
        except Interrupted as error:
            self._is_interrupted = True
            ended = list(error.ended)
        self._n_done += len(ended)
        return ended


def _repeats(one: Observed, other: Observed) -> bool:
    left, right = one.losses, other.losses
    if left is None or right is None or len(left) != len(right):
        return False
    return first_difference(left, right, steps=len(left)) is None


def _n_jobs(run: Run, jobs: int | None) -> int:
    """As asked for, else as many as the cores carry with the threads that the run had."""
    if jobs is not None:
        return max(1, jobs)
    numerics = json_object(run.manifest.environment if run.manifest else None).get("numerics")
    threads = json_integer(json_object(numerics).get("threads"), least=1) or 1
    return max(1, (os.cpu_count() or 1) // threads)
