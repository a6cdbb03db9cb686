"""What `training_telemetry.pth` starts where `$TELEMETRY_AUTO` is set: waits for `torch.optim`.

Runs before the script, in every Python process that inherits the variable. Loads nothing of torch;
the rest is loaded when the script makes its first optimizer.
"""

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from telemetry.capture.auto import trackers
from telemetry.capture.auto.command_line import CommandLine
from telemetry.capture.auto.imports import when_imported
from telemetry.capture.configured_store import configured_store
from telemetry.capture.isolation.contained import contained
from telemetry.errors import UsageError
from telemetry.format.runs import project_folder
from telemetry.requests.record import AUTO_VARIABLE, RecordRequest
from telemetry.requests.trial import Trial

if TYPE_CHECKING:
    from telemetry.capture.auto.script_watch import ScriptWatch

MODULE = "torch.optim"
# What multiprocessing starts as a fresh interpreter: workers, never the training itself.
WORKER_COMMAND = "from multiprocessing."
NO_TORCH = "nothing was recorded: the script never imported torch"
NO_OPTIMIZER = (
    "nothing was recorded: the script made no torch optimizer; a custom loop needs telemetry = "
    "TelemetryCallback(model, None), and telemetry.step(loss=loss) after each update"
)

_started: list["AutoStart"] = []  # one at most, however often the start file is read


def start() -> None:
    """Record the script that this process is about to run, if it trains."""
    if _started or os.environ.get("TELEMETRY_DISABLED", "") not in {"", "0"} or _is_worker():
        return
    try:
        request, trial = RecordRequest.of(os.environ), Trial.of(os.environ)
    except UsageError as error:
        sys.stderr.write(f"telemetry: {error}\n")
        return
    if request is None:
        return
    if request.speaker is None:
        request = replace(request, speaker=os.getpid())
        os.environ[AUTO_VARIABLE] = request.to_variable()
    if trial is not None:
        _prepare(trial)
    _started.append(AutoStart(request))
    _started[0].begin()


def _prepare(trial: Trial) -> None:
    """Other seeds, and other data, for the script of a trial."""
    from telemetry.capture.treatment import early, seeds  # noqa: PLC0415 - for trials alone

    if trial.seed_offset:
        seeds.shift_random(trial.seed_offset)
    for name, told in (("torch", early.torch_is_loaded), ("numpy.random", early.numpy_is_loaded)):
        when_imported(name, functools.partial(told, trial))


def _is_worker() -> bool:
    return any(argument.startswith(WORKER_COMMAND) for argument in sys.orig_argv[1:])


class AutoStart:
    """Recording that begins with the first optimizer of this process.

    Args:
        request: What to record with.
    """

    def __init__(self, request: RecordRequest) -> None:
        self._request = request
        self._watch: ScriptWatch | None = None
        self._command_line = CommandLine()
        self._started_s = time.time()
        self._reason: Callable[[], str | None] = lambda: NO_TORCH if request.asked else None

    def begin(self) -> None:
        """Wait for `torch.optim`, or go on where it is loaded already; see what else is known."""
        if self._request.speaker == os.getpid():
            atexit.register(self._say_why)
        when_imported(MODULE, self._wake)
        when_imported("argparse", self._command_line.watch_argparse)
        when_imported("click.core", self._command_line.watch_click)
        for name in trackers.TENSORBOARD:
            when_imported(name, functools.partial(trackers.watch_tensorboard, log=self._log))
        when_imported(trackers.WANDB, functools.partial(trackers.watch_wandb, log=self._log))

    def _wake(self, module: ModuleType) -> None:
        """Watch the constructor of optimizers, which runs once for each, for good."""
        self._reason = lambda: NO_OPTIMIZER
        optimizer_class = module.Optimizer
        construct = optimizer_class.__init__

        @functools.wraps(construct)
        def watched(optimizer: object, *args: object, **kwargs: object) -> None:
            construct(optimizer, *args, **kwargs)
            with contained(self._failed):
                self._made(optimizer)

        optimizer_class.__init__ = watched

    def _made(self, optimizer: object) -> None:
        if self._watch is None:
            from telemetry.capture.auto.script_watch import ScriptWatch  # noqa: PLC0415 - loads pyarrow

            self._watch = ScriptWatch(self._request, self._command_line)
            self._reason = self._watch.why_nothing
        self._watch.made(optimizer)

    def _log(self, metrics: Mapping[str, object]) -> None:
        if self._watch is not None:
            self._watch.log(metrics)

    def _failed(self, error: Exception) -> None:
        self._reason = lambda: f"nothing was recorded: {type(error).__name__}: {error}"

    def _say_why(self) -> None:
        """At the end of the process: why nothing was recorded, unless the script failed."""
        reason = self._reason()
        if reason is None or os.getpid() != self._request.speaker or hasattr(sys, "last_value"):
            return
        if self._watch is None and self._others_recorded():
            return
        sys.stderr.write(f"telemetry: {reason}.\n")

    def _others_recorded(self) -> bool:
        """Whether a run was recorded meanwhile, by processes that a launcher starts."""
        store = configured_store()
        runs = store.glob(f"project={project_folder(self._request.project)}/run=*")
        return any(run.stat().st_mtime >= self._started_s for run in runs)
