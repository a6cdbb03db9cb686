"""TelemetryCallback: the one object a training loop needs."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.arguments import (
    Every,
    checked_allowance,
    checked_every,
    checked_flight,
    checked_optimizers,
    checked_project,
    checked_reaction,
    checked_resume,
    checked_share,
    checked_spec,
    checked_store,
    checked_switch,
    checked_texts,
    checked_total,
)
from telemetry.capture.configured_store import configured_store
from telemetry.capture.environment import open_callbacks
from telemetry.capture.environment.environment import is_preparing
from telemetry.capture.environment.exit_calls import is_failure
from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.untraced import untraced
from telemetry.capture.run.after_close import start_diagnosis
from telemetry.capture.run.example_log import ExampleBatch, ExampleLog
from telemetry.capture.run.last_words import LastWords
from telemetry.capture.run.opening import Opening
from telemetry.capture.run.recording import Recording
from telemetry.capture.run.settings import run_settings
from telemetry.capture.steps.continuation import state_of
from telemetry.capture.steps.options import OnFinding, Options
from telemetry.capture.steps.probe_batch import ProbeBatch
from telemetry.capture.treatment.attached import Attached, attached, tell
from telemetry.errors import UsageError
from telemetry.format.manifest import Status
from telemetry.json_values import Json
from telemetry.requests.models import ExplainSpec

logger = logging.getLogger(__name__)

State = dict[str, object]


class TelemetryCallback:
    """Records a training loop: losses, gradients, weights, updates and activations.

    Nothing of the training changes: not the numbers, not the random state, not the exceptions.

    Example:
        >>> telemetry = TelemetryCallback(model, optimizer)
        >>> for x, y in loader:
        ...     loss = criterion(model(x), y)
        ...     optimizer.zero_grad(); loss.backward(); optimizer.step()
        ...     telemetry.step(loss=loss)
        >>> telemetry.log(val_loss=0.3); telemetry.close()

    Args:
        model: The module that is trained; wrapped by DDP or torch.compile or not.
        optimizer: One optimizer, or all of them; None for a loop that updates the weights by hand:
            each call of `step()` then ends a step.
        store: Folder of runs; default `$TELEMETRY_STORE`, `store` of the settings file, else
            `./telemetry-runs`.
        project: Groups runs; free text.
        name: Display name; default is the script's name.
        config: Hyperparameters: a mapping, dataclass or namespace; nested keys are joined by dots.
        tags: Free labels; `gan`, `rl`, `overfit-one-batch`, `fine-tune` are understood by diagnose.
        total_steps: Planned optimizer steps, for rules that speak of a share of the plan; samples
            that every run has are spread over them.
        every: Sample each N-th optimizer step, or fewer where the budget asks for it, which is
            told then and at the end; "auto": as often as the budget allows, and at least 24 times.
        overhead_budget: Share of the elapsed time that recording may cost; None: no limit.
        overhead_allowance_s: Seconds that recording may cost in any case, so that short runs are
            observed closely.
        histograms: Record log2 histograms of gradients and weights.
        activations: Record activations, output gradients and loss inputs on sampled steps.
        flight_recorder: Last steps whose scalars survive a process that is killed; 0 or None: off.
        resume: Go on with a run instead of beginning one, after the last step that it has on the
            disk: an id, or its beginning; "auto": the newest run of the same project, name and
            config that has failed or was killed, if there is one. See also `load_state_dict`.
        probe: A small batch, as the model's forward takes it: a tensor, a tuple of arguments, or a
            dict of named ones. On sampled steps an eager forward of it, without gradient and
            without any trace in the training, records the activations that torch.compile hides.
        on_finding: The run is judged while it trains, by the rules of `telemetry diagnose`, in a
            process of its own. "warn" warns once of each error and warning that they find, "stop"
            raises TrainingStopped between two steps for an error, a function is called with each
            `telemetry.Finding`, between two steps as well. Only rank 0 is told.
        explain: How the model, its weights and its examples can be found again, so that
            `telemetry evaluate` and `telemetry explain` need no options for this run.
        remedy: What to change in the training, as "lr/8": see `telemetry try --list`.
        strict: Raise CaptureError instead of switching off the part that failed.
        quiet: Leave out the line on stderr at the end, as `$TELEMETRY_QUIET` does.

    Raises:
        TypeError: an argument is of the wrong kind.
        UsageError: an argument's value is out of range, or the run to resume is being recorded.
        RunNotFound: the run to resume is not there.
        StoreUnreadable: its manifest cannot be read.
    """

    _treatment: Attached | None = None

    def __init__(  # noqa: PLR0913 - the one place where a user states everything
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None,
        *,
        store: str | os.PathLike[str] | None = None,
        project: str = "default",
        name: str | None = None,
        config: object = None,
        tags: Sequence[str] = (),
        total_steps: int | None = None,
        every: Every = "auto",
        overhead_budget: float | None = 0.01,
        overhead_allowance_s: float = 2.0,
        histograms: bool = True,
        activations: bool = True,
        flight_recorder: int | None = 64,
        resume: str | None = None,
        probe: object = None,
        on_finding: OnFinding | None = None,
        explain: ExplainSpec | None = None,
        remedy: str | Sequence[str] = (),
        strict: bool = False,
        quiet: bool = False,
    ) -> None:
        optimizers = checked_optimizers(model, optimizer)
        resume, spec = checked_resume(resume), checked_spec(explain)
        options = Options(
            every=checked_every(every),
            overhead_budget=checked_share(overhead_budget),
            overhead_allowance_s=checked_allowance(overhead_allowance_s),
            histograms=checked_switch("histograms", histograms),
            activations=checked_switch("activations", activations),
            flight_recorder=checked_flight(flight_recorder),
            strict=checked_switch("strict", strict),
            total_steps=checked_total(total_steps),
            probe=None if probe is None else ProbeBatch.of(probe),
            on_finding=checked_reaction(on_finding),
        )
        folder, labels = checked_store(store), checked_texts("tags", tags)
        group = checked_project(project)
        self._last_words = LastWords(quiet=checked_switch("quiet", quiet), store=folder)
        self._model = model
        self._recording: Recording | None = None
        self._opening: Opening | None = None
        self._examples = ExampleLog(strict=strict)
        self._loaded: State = {}  # of a callback that records nothing
        self._closed = False
        # A worker that imports the script of its parent has no training of its own.
        if os.environ.get("TELEMETRY_DISABLED", "") not in {"", "0"} or is_preparing():
            return
        former = open_callbacks.register(model, self, self._progress)
        if former is not None:
            self._close_former(former, strict=strict)
        self._treatment = attached(model, optimizers, checked_texts("remedy", remedy), self.close)
        settings = run_settings(
            store=(self._treatment and self._treatment.store) or folder or configured_store(),
            project=group,
            name=name,
            config=config,
            tags=labels,
            total_steps=options.total_steps,
            explain=spec,
        )
        self._begin(
            Opening(
                model=model,
                optimizers=optimizers,
                options=options,
                settings=settings,
                resume=resume,
            )
        )

    def _begin(self, opening: Opening) -> None:
        self._opening = opening
        try:
            self._recording = opening.begin()
        finally:
            if self._recording is None:
                open_callbacks.forget(self._model, self)
        tell(self._treatment, None if self._recording is None else self._recording.emit)

    @property
    def run(self) -> str | None:
        """Id of the run; None when nothing is recorded."""
        return None if self._recording is None else self._recording.writer.ref.run

    @property
    def path(self) -> Path | None:
        """Folder of the run; None when nothing is recorded."""
        return None if self._recording is None else self._recording.writer.ref.path

    def step(self, *, loss: Tensor | float | None = None, **metrics: Tensor | float) -> None:
        """Name the loss and any metric of this optimizer step; call it after `optimizer.step()`.

        Args:
            loss: The loss of this step; stays on its device.
            **metrics: Further values of this step, numbers or 0-d tensors.
        """
        _step(None if self._closed else self._recording, loss, metrics)

    def log(self, /, **metrics: Tensor | float) -> None:
        """Record named values at any time; they belong to the last step begun.

        Forwards without gradient since the last backward pass are then an evaluation.

        Args:
            **metrics: Numbers or 0-d tensors.
        """
        _log(self._open, metrics)

    def log_examples(
        self,
        outputs: Tensor,
        labels: Tensor | Sequence[int | float] | None,
        *,
        dataset: str = "valid",
        ids: Sequence[str] | None = None,
        inputs: Tensor | None = None,
        classes: Sequence[str] = (),
        metadata: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Record what the model answers to single examples, at steps of your choice.

        Call it for each batch of an evaluation: which examples are learned late, forgotten, or
        wrong with confidence is then a query over `example_evals`.

        Args:
            outputs: Logits or probabilities, shape (n, classes); or (n,), one number an example:
                of two classes the logit of the second, its probability where the training
                minimises `binary_cross_entropy`.
            labels: True classes or numbers, shape (n,); None: not known.
            dataset: Name of the data set.
            ids: Names of the examples, which must stay the same from step to step; None: made of
                `inputs`, or else the place in the order in which they are logged at a step.
            inputs: The batch; only used to tell examples apart.
            classes: Names of the classes.
            metadata: What else is known of each example.
        """
        _log_examples(
            self._examples,
            self._open,
            ExampleBatch(
                outputs=outputs,
                labels=labels,
                dataset=str(dataset),
                ids=ids,
                inputs=inputs,
                classes=tuple(map(str, classes)),
                metadata=metadata,
            ),
        )

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Forwards without gradient inside the block are an evaluation, whatever is logged."""
        yield
        if self._recording is not None and not self._closed:
            self._recording.close_evaluation()

    def state_dict(self) -> State:
        """Run and progress, plain values for a checkpoint; empty when nothing is recorded."""
        if self._recording is None:
            return dict(self._loaded)
        return {**state_of(self._recording.writer.ref.run, self._recording.reached)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Count on from a checkpoint: what was recorded after it is superseded.

        Best called before the first forward. Later (going back after a divergence), the run gets
        another attempt. A state of another run is told and only its step is taken, unless
        resume="auto": then that run is gone on with.

        Args:
            state: What `state_dict()` returned when the checkpoint was written; empty: nothing
                happens. One that cannot be used is ignored with a warning (strict: UsageError).

        Raises:
            TypeError: it is no mapping.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state is a {type(state).__name__}, expected the result of state_dict()."
            )
        recording = self._open
        if recording is None or self._opening is None:
            self._loaded = dict(state)
        elif state:
            self._recording = self._opening.load(recording, state)

    def close(self) -> None:
        """Remove the hooks, write what is left and end the run; harmless when called again."""
        self._close(Status.FINISHED, None)

    def fail(self, error: BaseException) -> None:
        """End the run as failed by an exception; what led to it is written first."""
        self._close(Status.FAILED, open_callbacks.describe(error))

    def __reduce__(self) -> "tuple[Callable[[State], TelemetryCallback], tuple[State]]":
        # What holds a callback may be copied, saved or sent to another process.
        return _copy_of, (self.state_dict(),)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not is_failure(error.code)):
            self.close()
        else:
            self.fail(error)

    def _progress(self) -> object:
        """Another value after whatever the training does."""
        return None if self._recording is None else self._recording.progress

    @property
    def _open(self) -> Recording | None:
        return None if self._closed else self._recording

    def _close(self, status: Status, error: Mapping[str, Json] | None) -> None:
        if self._closed:
            return
        self._closed = True
        with contained(_log_failed_close):
            open_callbacks.forget(self._model, self)
        if self._recording is not None:
            self._recording.close(status, error)
            with contained(_log_failed_close):
                if self._recording.writer.is_owned:  # a forked child closes nothing
                    start_diagnosis(self._recording.writer.ref)
            self._last_words.say(self._recording, status)
        if self._treatment is not None:
            self._treatment.leave(self.run)

    @staticmethod
    def _close_former(former: open_callbacks.Closable, *, strict: bool) -> None:
        if strict:
            raise UsageError(
                "another TelemetryCallback records this model; close() it before making a new one."
            )
        logger.warning("another TelemetryCallback recorded this model; its run was closed")
        former.close()


def _copy_of(state: State) -> TelemetryCallback:
    """A callback that records nothing and hands the state on."""
    copied = TelemetryCallback.__new__(TelemetryCallback)
    vars(copied).update(
        _model=nn.Identity(),
        _recording=None,
        _opening=None,
        _loaded=state,
        _closed=False,
        _examples=ExampleLog(strict=False),
    )
    return copied


# Set aside, so that they may stand in a training step that is compiled.
@untraced
def _step(
    recording: Recording | None, loss: Tensor | float | None, metrics: Mapping[str, object]
) -> None:
    if recording is not None:
        recording.steps.called(loss, metrics)


@untraced
def _log(recording: Recording | None, metrics: Mapping[str, object]) -> None:
    if recording is not None:
        recording.log(metrics)


@untraced
def _log_examples(log: ExampleLog, recording: Recording | None, batch: ExampleBatch) -> None:
    if recording is not None:
        log.log(recording, batch)


def _log_failed_close(error: Exception) -> None:
    logger.warning("telemetry: close() did not complete: %s", error)
