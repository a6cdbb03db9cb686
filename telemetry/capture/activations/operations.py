"""Functional activations and attention inside the forwards of sampled steps.

The dispatch mode that sees them makes each operation dearer, whether it is looked at or not: a
model in which none was found is asked rarely.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from telemetry.capture.activations.attention import AttentionInputs
from telemetry.capture.activations.forward_hooks import Frame, Visit
from telemetry.capture.activations.functions import ActivationMode, modes_are_safe
from telemetry.capture.activations.recorder import SiteRecorder
from telemetry.capture.activations.records import Observation
from telemetry.capture.activations.statistics import Family
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.isolation.hook_scope import n_dispatch_modes, undispatched
from telemetry.capture.isolation.lingering_modes import let_linger, take_away, take_away_others
from telemetry.capture.isolation.torch_state import in_backward, in_transform
from telemetry.capture.losses.observer import LossObserver

PART = "modules"
N_WITHOUT_OPERATIONS = 4  # sampled steps after which a model is taken to have no functional ones
OPERATIONS_EVERY = 8  # sampled steps between two looks for them in such a model
MAX_SITES = 16  # of one functional activation in one forward of a module
DROPOUT = "dropout"
N_GATES = 4  # between an activation and what it is multiplied with


@dataclass(slots=True, kw_only=True, eq=False)
class _Gate:
    """A sigmoid or tanh that may turn out to be no activation of its own.

    Attributes:
        value: The result, or what became of it.
        source: What it was computed from.
        frame: The module that computed it.
        observation: What was recorded of it.
        is_shifted: Whether `value` is the result plus a number.
    """

    value: Tensor
    source: object
    frame: Frame
    observation: Observation[Tensor]
    family: Family
    is_shifted: bool = False


class OperationObserver:
    """Puts operations down to the module whose forward is running.

    Args:
        recorder: Measures them.
        guard: Contains what fails.

    Attributes:
        losses: Follows what the mode sees between forward and backward.
    """

    def __init__(self, recorder: SiteRecorder, guard: Guard) -> None:
        self._recorder = recorder
        self._guard = guard
        self.losses = LossObserver()
        self._mode = ActivationMode(self, guard(PART), self.losses.tape)
        self._visit: Visit | None = None
        self._n_visits = 0
        self._last_found = 0
        self._wanted = True
        self._gates: deque[_Gate] = deque(maxlen=N_GATES)
        self._is_lingering = False

    @property
    def cost_s(self) -> float:
        """Seconds spent in the mode so far."""
        return self._mode.cost_s

    def begin(self, visit: Visit) -> None:
        """A sampled step or an evaluation begins."""
        self._visit = visit
        if visit.is_evaluation:
            return
        quiet = self._n_visits - self._last_found >= N_WITHOUT_OPERATIONS
        quiet = quiet and not self.losses.is_in_forward
        self._wanted = not quiet or self._n_visits % OPERATIONS_EVERY == 0
        self._n_visits += 1
        self.losses.begin()

    def enter(self, *, may_evaluate: bool) -> None:
        """An outermost forward begins.

        Args:
            may_evaluate: It is looked at whatever was found before: few are, and a functional
                dropout that is on in them is seen here alone.
        """
        take_away_others(self._mode)
        self.losses.tape.forward_begins()
        if self._wanted or may_evaluate:
            self._put_on()

    def given(self, inputs: Iterable[Tensor]) -> None:
        """An outermost forward was given these."""
        if self.losses.is_wanted and not in_transform():
            self.losses.tape.given(inputs)

    def forward_left(self, path: str, outputs: Iterable[Tensor]) -> None:
        """An outermost forward with gradient has returned these; the mode stays for their loss."""
        if not self.losses.is_wanted or in_transform() or n_dispatch_modes() > self._is_on:
            return
        self.losses.tape.forward_left(path, outputs)
        self._put_on()
        if self._is_on:
            let_linger(self._mode)
            self._is_lingering = True

    def leave(self) -> None:
        """An outermost forward has ended: the mode goes unless it waits for the loss."""
        self._gates.clear()
        if not self._is_lingering:
            self._take_off()

    def root(self, roots: Sequence[Tensor], step: int) -> None:
        """A backward pass begins: follow what it starts from."""
        self._take_off()
        self.losses.root(roots, step)

    def end(self) -> None:
        """The step is over."""
        self._take_off()
        self.losses.tape.clear()

    @property
    def _is_on(self) -> bool:
        return self._visit is not None and self._visit.mode_is_on

    def _put_on(self) -> None:
        if self._visit is not None and not self._is_on and modes_are_safe():
            self._mode.__enter__()  # type: ignore[no-untyped-call]
            self._visit.mode_is_on = True

    def _take_off(self) -> None:
        self._is_lingering = False
        # Not of this thread, or gone with a mode below it: it stays, idle.
        if self._visit is not None and self._is_on and take_away(self._mode):
            self._visit.mode_is_on = False

    def _running(self) -> Visit | None:
        """The visit, if an operation of its forward is one to look at."""
        visit = self._visit
        if visit is None or visit.failed or visit.forward is None or not visit.is_inside():
            return None
        return None if in_backward() else visit

    def activation(self, name: str, family: Family, result: Tensor, source: object) -> None:
        """A functional activation: a site of the module whose forward is running."""
        visit = self._running()
        if visit is None or not visit.frames[-1].node.sees_operations:
            return
        self._last_found = self._n_visits
        frame = visit.frames[-1]
        observation = self._record(visit, frame, name, family, result)
        if observation is not None and family in {Family.TANH, Family.SIGMOID}:
            self._gates.append(
                _Gate(
                    value=result,
                    source=source,
                    frame=frame,
                    observation=observation,
                    family=family,
                )
            )

    def dropped(self, result: Tensor) -> None:
        """A dropout is on: a site of the module whose forward is running, unless it trains."""
        visit = self._running()
        if visit is None or visit.forward is None or visit.forward.phase is not None:
            return
        frame = visit.frames[-1]
        count = frame.counts[DROPOUT]
        frame.counts[DROPOUT] += 1
        if count >= MAX_SITES:
            return
        visit.failed = True
        with self._guard(PART), undispatched():
            self._recorder.dropout(frame.node, f"{DROPOUT}#{count}", result, visit.forward)
            visit.failed = False

    def product(self, factors: Sequence[object], result: object) -> None:
        """What a sigmoid is multiplied with says what it was.

        Times its own source it is half of a swish; times another activation it is a gate. Neither
        saturates in the sense of a hidden layer, nor does the tanh in x * (1 + tanh(...)), a GELU.
        """
        if not self._gates or len(factors) != 2:  # noqa: PLR2004
            return
        for gate in self._gates:
            if gate.value is factors[0] or gate.value is factors[1]:
                other = factors[1] if gate.value is factors[0] else factors[0]
                break
        else:
            return
        visit = self._running()
        is_swish = other is gate.source and not gate.is_shifted
        is_activation = isinstance(other, Tensor) and other.grad_fn is not None
        is_gate = is_activation and (gate.family is Family.SIGMOID or gate.is_shifted)
        if visit is None or not (is_swish or is_gate):
            return
        self._gates.remove(gate)
        self._recorder.retract(gate.observation)
        if is_swish and gate.family is Family.SIGMOID and isinstance(result, Tensor):
            self._record(visit, gate.frame, "silu", Family.SMOOTH, result)

    def shifted(self, values: object, shift: object, result: object) -> None:
        """A number is added to a tanh: maybe half of a GELU."""
        for gate in self._gates:
            is_number = not isinstance(shift, Tensor) or shift.dim() == 0
            if gate.value is values and is_number and isinstance(result, Tensor):
                gate.value, gate.is_shifted = result, True

    def attention(self, inputs: AttentionInputs) -> None:
        """An attention, or maybe one."""
        visit = self._running()
        if visit is None or visit.forward is None:
            return
        visit.failed = True
        with self._guard(PART), undispatched():
            if self._recorder.attention(visit.frames[-1].node, inputs, visit.forward):
                self._last_found = self._n_visits
            visit.failed = False

    def _record(
        self, visit: Visit, frame: Frame, name: str, family: Family, result: Tensor
    ) -> Observation[Tensor] | None:
        count = frame.counts[name]
        frame.counts[name] += 1
        if count >= MAX_SITES or visit.forward is None:
            return None
        observation = None
        visit.failed = True
        with self._guard(PART), undispatched():
            observation = self._recorder.operation(
                frame.node, f"{name}#{count}", family, result, visit.forward
            )
            visit.failed = False
        return observation
