"""What `training_telemetry.pth` starts where `$TELEMETRY_AUTO` is set: waits for `torch.optim`.

Runs before the script, in every Python process that inherits the variable. Loads nothing of torch;
the rest is loaded when the script makes its first optimizer.
"""

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from telemetry.capture.configured_store import configured_store
from telemetry.capture.isolation.contained import contained
from telemetry.errors import UsageError
from telemetry.format.runs import project_folder
from telemetry.requests.record import AUTO_VARIABLE, RecordRequest

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
        request = RecordRequest.of(os.environ)
    except UsageError as error:
        sys.stderr.write(f"telemetry: {error}\n")
        return
    if request is None:
        return
    if request.speaker is None:
        request = replace(request, speaker=os.getpid())
        os.environ[AUTO_VARIABLE] = request.to_variable()
    _started.append(AutoStart(request))
    _started[0].begin()


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
        self._started_s = time.time()
        self._reason: Callable[[], str | None] = lambda: NO_TORCH if request.asked else None

    def begin(self) -> None:
        """Wait for `torch.optim`, or go on where it is loaded already."""
        if self._request.speaker == os.getpid():
            atexit.register(self._say_why)
        loaded = sys.modules.get(MODULE)
        if loaded is None:
            sys.meta_path.insert(0, _Waiting(self._wake))
        else:
            self._wake(loaded)

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

            self._watch = ScriptWatch(self._request)
            self._reason = self._watch.why_nothing
        self._watch.made(optimizer)

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


class _Waiting(MetaPathFinder):
    """Finds nothing itself; calls `wake` once the module has run."""

    def __init__(self, wake: Callable[[ModuleType], None]) -> None:
        self._wake = wake

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's real spec, with a loader that tells when it has run."""
        del path, target
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec, spec.loader, self._wake)
        return spec


class _Telling(Loader):
    """Runs a module by its own loader, gives that back to it, and tells."""

    def __init__(
        self, spec: ModuleSpec, loader: Loader, wake: Callable[[ModuleType], None]
    ) -> None:
        self._spec = spec
        self._loader = loader
        self._wake = wake

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the real loader does; then the module is as if nobody had waited for it."""
        self._spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._wake(module)
