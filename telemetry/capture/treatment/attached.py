"""The remedies of a callback: those that it was given, or those of the trial that this process is.

In a trial the process ends by itself after the steps that were asked for, whatever the script has
still to do, and says in a file what became of it.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.event import Event
from telemetry.capture.remedy import Dose, NotApplicable
from telemetry.capture.treatment.treated import OnFailure, Treatment
from telemetry.errors import UsageError
from telemetry.requests.trial import Trial
from telemetry.requests.trial_report import TrialReport

Close = Callable[[], None]
_trials: dict[int, "TrialProcess"] = {}  # by process: a forked one is no trial of its own


class Attached:
    """Remedies on the training of one callback.

    Attributes:
        store: Folder that the run is to be recorded in; None: as the callback says.

    Args:
        treatment: With what is attached.
    """

    store: Path | None = None

    def __init__(self, treatment: Treatment) -> None:
        self._treatment = treatment

    def watch(self, on_failure: OnFailure) -> None:
        """Name whoever is to know of remedies that have failed, or will."""
        self._treatment.on_failure = on_failure
        for part, error in self._treatment.failures.items():
            on_failure(part, error)

    def leave(self, run: str | None) -> None:
        """Remove the remedies.

        Args:
            run: Id of the run that was recorded.
        """
        del run
        self._treatment.leave()


class TrialProcess(Attached):
    """The replay that this process is.

    Args:
        trial: What is to be otherwise.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__(
            Treatment([Dose.of(text) for text in trial.remedies], forgiving=trial.survey)
        )
        self.store = Path(trial.store)
        self._trial = trial
        self._close: Close | None = None

    def attach_early(self) -> None:
        """Attach the remedies that change how data come."""
        self._treatment.attach_early()

    @property
    def is_taken(self) -> bool:
        """Whether a callback is open already whose training is treated."""
        return self._close is not None

    def take(self, model: nn.Module, optimizers: Sequence[Optimizer], close: Close) -> None:
        """Treat the training of a callback; ends the process where a remedy does not apply."""
        self._close = close
        try:
            self._treatment.join(model, optimizers, self._before_step)
        except NotApplicable as error:
            TrialReport(refused=str(error)).write(Path(self._trial.report))
            _leave_process()

    def leave(self, run: str | None) -> None:
        """Remove the remedies and report."""
        super().leave(run)
        self._close = None
        remedies, refusals = self._treatment.remedies, self._treatment.refusals
        acted = [one.equal_steps for one in remedies if one.equal_steps is not None]
        idle = [one.dose.text for one in remedies if not one.n_acts]
        TrialReport(
            run=run,
            n_steps=self._treatment.step,
            equal_steps=min(acted, default=None),
            n_acts=sum(one.n_acts for one in remedies),
            refusals=refusals,
            failed=next(map(_failure, self._treatment.failures.items()), None),
            idle=tuple(dose for dose in idle if dose not in refusals),
        ).write(Path(self._trial.report))

    def _before_step(self) -> None:
        if self._treatment.step == self._trial.stop_after and self._close is not None:
            self._close()
            _leave_process()


def this_trial() -> TrialProcess | None:
    """The trial that this process is, as `$TELEMETRY_TRIAL` says; None where it is none."""
    number = os.getpid()
    if number not in _trials:
        trial = None if _trials else Trial.of(os.environ)
        if trial is None:
            return None
        _trials[number] = TrialProcess(trial)
    return _trials[number]


def attached(
    model: nn.Module, optimizers: Sequence[Optimizer], remedies: Sequence[str], close: Close
) -> Attached | None:
    """Attach the remedies of a callback; None where it has none.

    Args:
        model: What is trained.
        optimizers: What trains it.
        remedies: What the callback was given; a trial has its own.
        close: Closes the callback.

    Raises:
        UsageError: there is no such remedy, or it does not apply (NotApplicable).
    """
    trial = this_trial()
    if trial is not None:
        if not trial.is_taken:
            trial.take(model, optimizers, close)
            return trial
        beside = Attached(Treatment([]))
        beside.store = trial.store
        return beside
    if not remedies:
        return None
    treatment = None
    try:
        treatment = Treatment([Dose.of(text) for text in remedies])
        treatment.join(model, optimizers, None)
    except UsageError:
        if treatment is not None:
            treatment.leave()
        close()  # another callback may take the model
        raise
    return Attached(treatment)


def tell(treatment: Attached | None, emit: Callable[[Event], None] | None) -> None:
    """A remedy that fails is an event of the run.

    Args:
        treatment: Of the callback.
        emit: Adds an event to its run; None where nothing is recorded.
    """
    if treatment is None or emit is None:
        return

    def event(part: str, error: Exception) -> None:
        emit(Event.switched_off(part, error))

    treatment.watch(event)


def _failure(failed: tuple[str, Exception]) -> str:
    part, error = failed
    return f"{part} failed: {type(error).__name__}: {error}"


def _leave_process() -> None:
    """End this process at once: the script may catch any exception."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)
