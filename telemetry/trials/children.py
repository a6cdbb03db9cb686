"""Runs replays as child processes, some side by side; none outlives this process.

Each child leads a group of processes of its own, which ends with it: workers of a script that was
ended in the middle would otherwise go on.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from telemetry.processes import ending
from telemetry.requests.record import AUTO_VARIABLE
from telemetry.requests.trial import TRIAL_VARIABLE, Trial
from telemetry.requests.trial_report import TrialReport
from telemetry.trials.replay import CommandLine
from telemetry.trials.workspace import copy_folder

LOOK_S = 0.02  # between looks at the children
LAST_WORDS_BYTES = 4096
Done = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One replay to run.

    Attributes:
        dose: The remedy; '' for the unchanged control.
        seed_offset: Added to the script's seeds.
        surveyed: Doses of which it is asked whether they change anything, all in one replay.
    """

    dose: str = ""
    seed_offset: int = 0
    surveyed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One replay that was run.

    Attributes:
        job: Which.
        store: Folder of its run.
        report: What the process said; None where it did not come so far.
        failure: Why it did not; None where it did.
    """

    job: Job
    store: Path
    report: TrialReport | None
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What all replays of one command have in common.

    Attributes:
        command: What is started.
        steps: Optimizer steps after which a replay ends.
        timeout_s: After which it is ended.
        work: Folder for copies, stores and reports.
        store: The store of the recorded run, which is not copied.
        in_place: Run in the recorded working directory itself.
    """

    command: CommandLine
    steps: int
    timeout_s: float
    work: Path
    store: Path
    in_place: bool = False


class _Child:
    """A replay that runs."""

    def __init__(self, job: Job, conditions: Conditions, number: int) -> None:
        self.job = job
        self._folder = conditions.work / f"{number:03d}"
        self._folder.mkdir(parents=True)
        self._store = self._folder / "store"
        self._report = self._folder / "report.json"
        trial = Trial(
            store=str(self._store),
            report=str(self._report),
            remedies=job.surveyed or ((job.dose,) if job.dose else ()),
            stop_after=conditions.steps,
            seed_offset=job.seed_offset,
            survey=bool(job.surveyed),
        )
        place = conditions.command.folder
        if not conditions.in_place:
            place = self._folder / "work"
            copy_folder(conditions.command.folder, place, conditions.store)
        self._ends_s = time.monotonic() + conditions.timeout_s
        self._timeout_s = conditions.timeout_s
        with (self._folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own script
                conditions.command.words,
                cwd=place,
                env=_environment(conditions.command, trial),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def ended(self) -> Ended | None:
        """What became of it; None while it runs."""
        code = self._process.poll()
        is_late = code is None and time.monotonic() > self._ends_s
        if code is None and not is_late:
            return None
        self.kill()
        # A copy for each replay would fill a disk.
        shutil.rmtree(self._folder / "work", ignore_errors=True)
        report = TrialReport.read(self._report)
        ended = Ended(job=self.job, store=self._store, report=report, failure=None)
        if is_late:
            why = f"it did not end within {self._timeout_s:.0f} s"
            return replace(ended, failure=why)
        if code != 0:
            return replace(ended, failure=f"the script {ending(code)}: {self._last_words()}")
        if report is None or (report.n_steps == 0 and report.refused is None):
            return replace(ended, failure=f"no training step was seen: {self._last_words()}")
        return ended

    def kill(self) -> None:
        """End it and whatever it has started."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        said = (self._folder / "stderr").read_bytes()[-LAST_WORDS_BYTES:]
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def run_jobs(
    jobs: Sequence[Job], conditions: Conditions, *, n_jobs: int, done: Done
) -> list[Ended]:
    """Run replays, and say of each how it ended; those of an interrupted command are missing.

    Args:
        jobs: What to run, in this order.
        conditions: What they have in common.
        n_jobs: How many at once.
        done: Told how many have ended, of how many.

    Raises:
        Interrupted: by Ctrl-C, or by a request to end; it holds those that had ended.
    """
    waiting, running, ended = list(jobs), list[_Child](), list[Ended]()
    first = sum(1 for _ in conditions.work.iterdir())
    former = _interrupting()
    try:
        while waiting or running:
            while waiting and len(running) < n_jobs:
                number = first + len(jobs) - len(waiting)
                running.append(_Child(waiting.pop(0), conditions, number))
            for child in tuple(running):
                found = child.ended()
                if found is not None:
                    running.remove(child)
                    ended.append(found)
                    done(len(ended), len(jobs))
            time.sleep(LOOK_S)
    except KeyboardInterrupt as error:
        raise Interrupted(ended) from error
    finally:
        for child in running:
            child.kill()
        if former is not None:
            signal.signal(signal.SIGTERM, former)
    return ended


def _interrupting() -> signal.Handlers | None:
    """A request to end is an interrupt from now on: without it the replays would go on alone.

    Returns what was done before; None where somebody else handles it, or in another thread.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return signal.SIG_DFL


class Interrupted(Exception):  # noqa: N818 - named after what the user did
    """Ctrl-C ended the replays.

    Attributes:
        ended: Those that had ended before.
    """

    def __init__(self, ended: Sequence[Ended]) -> None:
        super().__init__("interrupted")
        self.ended = tuple(ended)


def _environment(command: CommandLine, trial: Trial) -> dict[str, str]:
    """This one's, as far as the recorded one is not known."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY_")
    }
    set_then = {name: value for name, value in command.variables.items() if value is not None}
    kept = {name: value for name, value in inherited.items() if name not in command.variables}
    return {
        **kept,
        **set_then,
        AUTO_VARIABLE: command.request.to_variable(),
        TRIAL_VARIABLE: trial.to_variable(),
        "TELEMETRY_COMPACT": "off",
        "TELEMETRY_QUIET": "1",
    }
