"""Begins the recording of a model: as a new run, or as the next attempt of one."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.budget.dispatch_cost import measured_dispatch_s
from telemetry.capture.environment import open_callbacks
from telemetry.capture.environment.ranks import shared_run_id
from telemetry.capture.event import Event
from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.run.recording import Recording
from telemetry.capture.run.resume import (
    AUTO,
    config_changes,
    described,
    latest_unfinished,
    run_to_resume,
)
from telemetry.capture.steps.continuation import (
    BEGINNING,
    Continuation,
    parse_state,
    recorded_before,
)
from telemetry.capture.steps.options import Options
from telemetry.capture.writer.writer import RunSettings, RunWriter
from telemetry.errors import CaptureError, RunNotFound, StoreUnreadable, UsageError
from telemetry.format.manifest import Status, write_manifest

if TYPE_CHECKING:
    from telemetry.json_values import Json

logger = logging.getLogger(__name__)

Start = Callable[[RunWriter], Continuation]


@dataclass(slots=True, kw_only=True)
class Opening:
    """Everything that a recording is begun with.

    Attributes:
        model: As the user passed it.
        optimizers: All of them.
        options: What is recorded.
        settings: Of the run, without an id.
        resume: "auto", an id or its beginning, or None for a new run.
    """

    model: nn.Module
    optimizers: Sequence[Optimizer]
    options: Options
    settings: RunSettings
    resume: str | None = None

    def begin(self) -> Recording | None:
        """The recording of the run that is asked for; None, with a warning, if nothing can be.

        Raises:
            RunNotFound: the run to resume is not there.
            StoreUnreadable: its manifest cannot be read.
            UsageError: another process records it.
        """
        settings = self.settings
        if self.resume is None:
            run = shared_run_id(settings.rank, settings.world_size, strict=self.options.strict)
            return self._open(run, lambda _: BEGINNING)
        if self.resume == AUTO:
            run = shared_run_id(
                settings.rank,
                settings.world_size,
                lambda: latest_unfinished(settings),
                strict=self.options.strict,
            )
        else:
            run = run_to_resume(settings, self.resume)
        return self._open(run, _after_the_last_step)

    def load(self, recording: Recording, state: Mapping[str, object]) -> Recording | None:
        """What records after a checkpoint was loaded whose state this is.

        Nothing recorded yet by this process: it counts on from there. Else the run gets another
        attempt. The state of another run counts its steps in this one, unless "auto" has chosen
        this one before the state was known.

        Args:
            recording: The present one.
            state: What `state_dict()` returned.
        """
        try:
            run, at = parse_state(state)
        except UsageError as error:
            if self.options.strict:
                raise
            logger.warning("telemetry: %s It is ignored.", error)
            return recording
        own = recording.writer.ref.run
        if run != own and self._moves(recording, run):
            recording.close(Status.FINISHED, None)
            _take_back(recording.writer)
            return self._open(run, lambda _: at)
        if not recording.go_on(at):
            recording.close(Status.FINISHED, None)
            return self._open(own, lambda _: at)
        if run == own:
            recording.emit(_resumed(f"the checkpoint is of step {at.step}", at))
        else:
            _tell_other_run(recording, run, at)
        return recording

    def _moves(self, recording: Recording, run: str) -> bool:
        """Whether to go over to the run of a state: it can be, and nothing would be left behind."""
        if self.resume != AUTO or not recording.is_untouched:
            return False
        try:
            return run_to_resume(self.settings, run) == run
        except (RunNotFound, StoreUnreadable, UsageError) as error:
            logger.warning(
                "telemetry starts a new run; the checkpoint's run cannot be resumed: %s", error
            )
            return False

    def _open(self, run: str | None, start: Start) -> Recording | None:
        if run is None:  # the ranks share none: it is the run of this process, whatever its rank
            self.settings = replace(self.settings, rank=0, world_size=1)
        try:
            writer = RunWriter.open(
                replace(self.settings, run_id=run),
                flight_steps=self.options.flight_recorder,
                strict=self.options.strict,
            )
        except CaptureError as error:
            if self.options.strict:
                raise
            logger.warning("nothing is recorded: %s", error)
            return None
        try:
            at = start(writer)
            with undispatched():
                recording = Recording(
                    self.model,
                    self.optimizers,
                    options=self.options,
                    writer=writer,
                    start=at,
                    dispatch_s=measured_dispatch_s(),
                )
        except Exception as error:
            writer.close(Status.FAILED, error=open_callbacks.describe(error))
            if self.options.strict:
                raise CaptureError(f"the model cannot be observed: {error}") from error
            logger.warning("nothing is recorded: the model cannot be observed: %s", error)
            return None
        self._tell_resumed(recording, at)
        return recording

    def _tell_resumed(self, recording: Recording, at: Continuation) -> None:
        claim = recording.writer.claim
        if claim.previous is None or claim.attempt == 1:
            return
        after = self.settings.config
        changes = config_changes(claim.previous.config, after) if after else []
        text = f"attempt {claim.attempt} continues at step {at.step}"
        if changes:
            text += f"; config: {described(changes)}"
        event = _resumed(text, at)
        event.payload["attempt"] = claim.attempt
        event.payload["config"] = [
            {"key": one.key, "before": one.before, "after": one.after} for one in changes
        ]
        recording.emit(event)
        logger.info("run %s: %s", recording.writer.ref.run, text)


def _after_the_last_step(writer: RunWriter) -> Continuation:
    claim = writer.claim
    if claim.previous is None:
        return BEGINNING
    starts = {one.attempt: one.start_step for one in claim.previous.attempts}
    return recorded_before(claim.ref.path, starts, rank=claim.rank, attempt=claim.attempt)


def _resumed(text: str, at: Continuation) -> Event:
    return Event(
        kind="resume",
        message=f"{text}: steps recorded before from step {at.step} on are replaced",
        payload={"step": at.step},
    )


def _tell_other_run(recording: Recording, run: str, at: Continuation) -> None:
    own = recording.writer.ref.run
    text = f"the checkpoint belongs to run {run}: run {own} counts its steps from step {at.step}"
    logger.warning("telemetry: %s; to continue that run, pass resume=%r", text, run)
    payload: dict[str, Json] = {"run": run, "step": at.step}
    recording.emit(Event(kind="resume", severity="warning", message=text, payload=payload))


def _take_back(writer: RunWriter) -> None:
    """Leave a run in which this process has recorded nothing as it was found."""
    previous = writer.claim.previous
    if writer.claim.rank != 0:
        return
    if previous is not None:
        write_manifest(writer.ref.path, previous)
    elif writer.claim.attempt == 1 and writer.world_size == 1:
        shutil.rmtree(writer.ref.path, ignore_errors=True)
