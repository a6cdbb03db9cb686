"""Records a script that knows nothing of it: makes the callback that the script could have made.

From the first optimizer on it waits for what comes first: a call of a module that owns a parameter
of the optimizer, a backward pass, or the optimizer's step. There the callback is made, and what
waited is taken away again.

A call is seen through `nn.Module._compiled_call_impl`, which torch reads at the start of every
call. A global forward pre-hook would come too late for the hooks of the module that is called, and
torch.compile warns of it; a wrapped `__call__` would show in the script's tracebacks.
"""

import atexit
import gc
import logging
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from telemetry.capture.auto.command_line import CommandLine
from telemetry.capture.auto.find_model import numbered_parameters, owns, owns_all, root_of
from telemetry.capture.auto.printed_metrics import PrintedMetrics
from telemetry.capture.auto.script_config import script_config
from telemetry.capture.callback import TelemetryCallback
from telemetry.capture.environment import open_callbacks
from telemetry.capture.environment.ranks import rank_and_world_size
from telemetry.capture.isolation.contained import contained
from telemetry.capture.steps import backward
from telemetry.capture.steps.ledger import without_calls
from telemetry.format.runs import RUN_ID_VARIABLE
from telemetry.requests.record import RecordRequest

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

logger = logging.getLogger(__name__)

CALL_ATTRIBUTE = "_compiled_call_impl"
NEVER_TRAINED = (
    "nothing was recorded: the script made an optimizer but telemetry saw no training with it; "
    "add telemetry = TelemetryCallback(model, optimizer) to the script"
)
NO_LOSS = (
    "no loss was recorded because the script never called backward(); use telemetry = "
    "TelemetryCallback(model, optimizer), and telemetry.step(loss=loss) after each step"
)
OWN_CALLBACK = "the script makes its own TelemetryCallback, which is used; {options} not used"


@dataclass(frozen=True, slots=True)
class Training:
    """What is being recorded."""

    callback: TelemetryCallback
    model: nn.Module
    optimizers: tuple[Optimizer, ...]


class ScriptWatch:
    """Makes the callbacks of a script, one after the other, until it makes one of its own.

    Args:
        request: What to record with.
        command_line: What the script's parsers have made of its arguments.
    """

    def __init__(self, request: RecordRequest, command_line: CommandLine | None = None) -> None:
        self._request = request
        self._command_line = command_line or CommandLine()
        self._process = os.getpid()
        self._new: list[weakref.ref[Optimizer]] = []
        self._training: Training | None = None
        self._has_recorded = False
        self._is_over = False
        self._is_making = False
        self._loss_seen = False
        self._stepped = False
        self._calls_watched = False
        self._step_hook: RemovableHandle | None = None
        self._printed: PrintedMetrics | None = None
        if request.metrics_from_stdout:
            with contained(_log_unread_output):
                self._printed = PrintedMetrics(sys.stdout, self.log)
        open_callbacks.watch(self._on_callback)
        atexit.register(self._take_back)

    def made(self, optimizer: object) -> None:
        """An optimizer has been made: what it trains is recorded from its first use on."""
        if self._is_over or not isinstance(optimizer, Optimizer) or not self._is_at_home():
            return
        self._new.append(weakref.ref(optimizer))
        self._watch_calls()
        self._watch_training()

    def log(self, metrics: Mapping[str, object]) -> None:
        """Metrics that the script has printed, or logged elsewhere: those of the present step."""
        if self._training is not None and not self._is_over and self._is_at_home():
            self._training.callback.log(**cast("Mapping[str, float]", metrics))

    def why_nothing(self) -> str | None:
        """What is missing in the record of this script; None: nothing."""
        if self._is_over:
            options = self._request.options
            return OWN_CALLBACK.format(options=" ".join(options)) if options else None
        if not self._has_recorded:
            return NEVER_TRAINED
        return None if self._loss_seen else NO_LOSS

    def stop(self) -> None:
        """Record nothing more; a run is closed, or taken back if nothing was trained."""
        self._is_over = True
        open_callbacks.unwatch(self._on_callback)
        self._ignore_calls()
        self._drop_step_hook()
        backward.forget(self._on_backward)
        if self._printed is not None:
            self._printed.stop()
        with contained(_log_failure):
            self._take_back()
            if self._training is not None:
                self._training.callback.close()

    # --- what is waited for -------------------------------------------------------------------

    def _on_call(self, module: nn.Module) -> None:
        if _is_tracing() or not self._is_at_home():
            return
        with contained(_log_failure):
            if not self._new:
                self._ignore_calls()
                self._drop_step_hook()
            elif owns(module, numbered_parameters(self._alive())):
                self._begin(called=module)

    def _on_backward(self, roots: Sequence[Tensor], waiting: backward.Waiting) -> None:
        del roots, waiting
        if not self._is_at_home():
            return
        with contained(_log_failure):
            if self._new:
                self._begin()
            self._loss_seen = self._has_recorded = True
        backward.forget(self._on_backward)

    def _on_step(self, optimizer: Optimizer, args: object, kwargs: object) -> None:
        del args, kwargs
        if not self._is_at_home():
            return
        with contained(_log_failure):
            if any(optimizer is one for one in self._alive()):
                self._begin()
            self._stepped = self._has_recorded = True
            self._watch_calls()  # the next one takes this hook away; here torch goes through it

    def _on_callback(self) -> None:
        """The script makes a callback itself: that one is meant."""
        if not self._is_making and self._is_at_home():
            self.stop()

    # --- inside -------------------------------------------------------------------------------

    def _begin(self, called: nn.Module | None = None) -> None:
        """Make the callback of the optimizers that are new, or of the training that they join."""
        self._ignore_calls()
        if len(self._new) > 1 and self._share_parameters():
            gc.collect()  # one that was replaced by another may live on in a cycle
        optimizers = self._alive()
        self._new.clear()
        former = self._training
        if former is not None:
            optimizers = self._joined(former, optimizers)
            if not self._is_trained():
                self._take_back()
            former.callback.close()
        model = root_of(optimizers, called)
        self._loss_seen = self._stepped = False
        self._watch_training()
        self._is_making = True
        try:
            with without_calls():
                callback = TelemetryCallback(
                    model,
                    optimizers,
                    project=self._request.project,
                    name=self._request.name,
                    config=self._config(),
                    tags=self._request.tags,
                    total_steps=self._request.total_steps,
                    every=self._request.every or "auto",
                )
        finally:
            self._is_making = False
        self._training = Training(callback, model, tuple(optimizers))

    def _config(self) -> Mapping[str, object]:
        found: dict[str, object] = {}
        with contained(_log_unread_config):
            found.update(script_config(self._command_line))
        return found

    def _joined(self, former: Training, new: list[Optimizer]) -> list[Optimizer]:
        """The new optimizers and those of before that go on beside them.

        None goes on where another model is trained now; one goes on where nothing was trained
        yet, or where the new ones move other parameters of the same model.
        """
        moved = numbered_parameters(new)
        if self._is_trained() and not owns_all(former.model, moved):
            return new
        kept = [
            one
            for one in former.optimizers
            if not numbered_parameters([one]).keys() <= moved.keys()
        ]
        return [*kept, *new] if not self._is_trained() else [*new, *kept]

    def _is_trained(self) -> bool:
        return self._loss_seen or self._stepped

    def _take_back(self) -> None:
        """Remove a run in which nothing was trained, such as that of an evaluation."""
        training = self._training
        if training is None or self._is_trained() or not self._is_at_home():
            return
        if hasattr(sys, "last_value"):  # the script failed: that is worth a record
            return
        self._training = None
        training.callback.close()
        path = training.callback.path
        shared = os.environ.get(RUN_ID_VARIABLE) or rank_and_world_size()[1] > 1
        if path is not None and not shared:
            shutil.rmtree(path, ignore_errors=True)

    def _alive(self) -> list[Optimizer]:
        return [optimizer for ref in self._new if (optimizer := ref()) is not None]

    def _share_parameters(self) -> bool:
        optimizers = self._alive()
        n_each = sum(len(numbered_parameters([optimizer])) for optimizer in optimizers)
        return n_each > len(numbered_parameters(optimizers))

    def _is_at_home(self) -> bool:
        """Whether this is the process that is recorded, not a forked one."""
        return os.getpid() == self._process

    def _watch_calls(self) -> None:
        if not self._calls_watched:
            self._calls_watched = True
            setattr(nn.Module, CALL_ATTRIBUTE, EveryCall(self._on_call))

    def _ignore_calls(self) -> None:
        if self._calls_watched:
            self._calls_watched = False
            setattr(nn.Module, CALL_ATTRIBUTE, None)

    def _watch_training(self) -> None:
        backward.forget(self._on_backward)
        backward.observe(self._on_backward)
        if self._step_hook is None:
            self._step_hook = register_optimizer_step_pre_hook(self._on_step)

    def _drop_step_hook(self) -> None:
        if self._step_hook is not None:
            self._step_hook.remove()
            self._step_hook = None


class EveryCall:
    """Stands in for `nn.Module._compiled_call_impl`: sees each call begin, on no stack.

    Args:
        see: Told the module that is called.
    """

    def __init__(self, see: Callable[[nn.Module], None]) -> None:
        self._see = see

    def __get__(self, module: nn.Module | None, owner: type[nn.Module]) -> object:
        if module is None:
            return None
        if not torch.compiler.is_compiling():
            self._see(module)
        return vars(module).get(CALL_ATTRIBUTE)

    def __set__(self, module: nn.Module, value: object) -> None:
        vars(module)[CALL_ATTRIBUTE] = value


def _is_tracing() -> bool:
    """A forward that is traced is none of the training."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _log_failure(error: Exception) -> None:
    logger.warning("nothing is recorded: %s: %s", type(error).__name__, error)


def _log_unread_output(error: Exception) -> None:
    logger.warning("printed metrics are not recorded: %s: %s", type(error).__name__, error)


def _log_unread_config(error: Exception) -> None:
    logger.warning("the configuration is not recorded: %s: %s", type(error).__name__, error)
