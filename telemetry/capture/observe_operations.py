"""Functional activations and attention inside the forwards of sampled steps.

The dispatch mode that sees them makes each operation dearer, whether it is looked at or not: a
model in which none was found is asked rarely.
"""

from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from telemetry.capture.attention_logits import AttentionInputs
from telemetry.capture.forward_hooks import Visit
from telemetry.capture.functional_ops import ActivationMode, modes_are_safe
from telemetry.capture.guard import Guard
from telemetry.capture.hook_scope import undispatched
from telemetry.capture.module_nodes import in_backward
from telemetry.capture.module_recorder import SiteRecorder
from telemetry.capture.module_statistics import Family

PART = "modules"
N_WITHOUT_OPERATIONS = 4  # sampled steps after which a model is taken to have no functional ones
OPERATIONS_EVERY = 8  # sampled steps between two looks for them in such a model
MAX_SITES = 16  # of one functional activation in one forward of a module


class OperationObserver:
    """Puts operations down to the module whose forward is running.

    Args:
        recorder: Measures them.
        guard: Contains what fails.
    """

    def __init__(self, recorder: SiteRecorder, guard: Guard) -> None:
        self._recorder = recorder
        self._guard = guard
        self._mode = ActivationMode(self._on_activation, self._on_attention)
        self._visit: Visit | None = None
        self._n_visits = 0
        self._last_found = 0
        self._wanted = True

    @property
    def cost_s(self) -> float:
        """Seconds spent in the mode so far."""
        return self._mode.cost_s

    def begin(self, visit: Visit) -> None:
        """A sampled step begins."""
        self._visit = visit
        quiet = self._n_visits - self._last_found >= N_WITHOUT_OPERATIONS
        self._wanted = not quiet or self._n_visits % OPERATIONS_EVERY == 0
        self._n_visits += 1

    def enter(self) -> None:
        """An outermost forward begins."""
        if self._visit is not None and self._wanted and modes_are_safe():
            self._mode.__enter__()  # type: ignore[no-untyped-call]
            self._visit.mode_is_on = True

    def leave(self) -> None:
        """It has ended."""
        visit = self._visit
        # Another mode on top was entered in the forward and not left; ours stays below it, idle.
        if visit is not None and visit.mode_is_on and _get_current_dispatch_mode() is self._mode:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            visit.mode_is_on = False

    def _running(self) -> Visit | None:
        """The visit, if an operation of its forward is one to look at."""
        visit = self._visit
        if visit is None or visit.failed or visit.forward is None or not visit.is_inside():
            return None
        return None if in_backward() else visit

    def _on_activation(self, name: str, family: Family, result: Tensor) -> None:
        visit = self._running()
        if visit is None or visit.forward is None:
            return
        frame = visit.frames[-1]
        if not frame.node.sees_operations:
            return
        self._last_found = self._n_visits
        count = frame.counts[name]
        frame.counts[name] += 1
        if count < MAX_SITES:
            visit.failed = True
            with self._guard(PART), undispatched():
                site = f"{name}#{count}"
                self._recorder.operation(frame.node, site, family, result, visit.forward)
                visit.failed = False

    def _on_attention(self, inputs: AttentionInputs) -> None:
        visit = self._running()
        if visit is None or visit.forward is None:
            return
        visit.failed = True
        with self._guard(PART), undispatched():
            if self._recorder.attention(visit.frames[-1].node, inputs, visit.forward):
                self._last_found = self._n_visits
            visit.failed = False
