"""When modules are observed: begin and end of each sampled step, and what is told of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from telemetry.capture.activations.modules import COMPILED
from telemetry.capture.activations.observer import N_SEARCHES, NOTHING_SEEN, PART, ModuleObserver
from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.packet import Packet
from telemetry.capture.steps.entry_hook import Arguments
from telemetry.capture.steps.options import Options

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

OF_COMPILER = {COMPILED, NOTHING_SEEN}
BY_PROBE = (
    "TelemetryCallback(..., probe=batch) observes an eager forward pass of a small batch instead"
)
PROBED = "Rows of phase probe show it for the batch passed as probe="


class ModuleWatch:
    """The modules of one recording, from sampled step to sampled step.

    Args:
        catalogue: Told the execution order once it is known.
        guard: Contains failures.
        put: Hands rows to the writer thread.
        emit: Adds an event.
        charge: Adds seconds that were spent between the operations of forwards.
        options: Whether modules are observed at all, and whether a probe shows what is compiled.

    Attributes:
        loss_op: Of the last loss that was known.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        guard: Guard,
        *,
        put: Callable[[Packet], None],
        emit: Callable[[Event], None],
        charge: Callable[[float], None],
        options: Options,
    ) -> None:
        self._catalogue = catalogue
        self._modules = ModuleObserver(catalogue.model, guard=guard)
        self._guard = guard
        self._put = put
        self._emit = emit
        self._charge = charge
        self._wanted = options.activations
        self._is_open = False
        self._is_ordered = False
        self._advice = PROBED if options.probe is not None else BY_PROBE
        self._is_told = False
        self._n_finished = 0
        self._charged_s = 0.0
        self.loss_op: str | None = None

    def attach(self, hooked: Collection[nn.Module]) -> "list[RemovableHandle]":
        """Recording begins; the handles remove what stays on the model until it ends.

        Args:
            hooked: Modules whose own hook calls `forward_begins`.
        """
        return self._modules.attach(hooked) if self._wanted else []

    def forward_begins(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """A forward enters one of these modules: the arguments it shall have, None for these."""
        return self._modules.forward_begins(module, args, kwargs) if self._is_open else None

    def begin(self, step: int) -> None:
        """A sampled step begins."""
        if self._wanted and self._guard.enabled(PART):
            with self._guard(PART):
                self._modules.begin(step)
                self._is_open = True

    def may_evaluate(self, *, is_so: bool) -> None:
        """Whether the forwards that come may be of an evaluation, though they have a gradient."""
        self._modules.may_evaluate = is_so

    def begin_evaluation(self, step: int) -> None:
        """An evaluation begins in a step that is not sampled."""
        if self._wanted and self._guard.enabled(PART):
            with self._guard(PART):
                self._modules.begin(step, is_evaluation=True)
                self._is_open = True

    def end_evaluation(self) -> None:
        """Look no more; what was seen is put when somebody has said what it was."""
        if self._is_open:
            self._is_open = False
            with self._guard(PART):
                self._charge_modes()
                self._modules.end_evaluation()

    def finish(self) -> None:
        """The step is over; nothing happens if it was not sampled."""
        if not self._is_open:
            return
        self._is_open = False
        with self._guard(PART):
            self._charge_modes()
            packet = self._modules.end()
            if packet is not None:
                self._put(packet)
            for loss in self._modules.take_losses():
                self._put(loss)
            if not self._is_ordered and self._modules.execution_order:
                self._is_ordered = True
                self._catalogue.set_execution_order(self._modules.execution_order)
                self._put(self._catalogue.packet())
            self._n_finished += 1
            if self._is_ordered or self._n_finished > N_SEARCHES:
                self._tell_not_observed()

    def close(self) -> None:
        """Recording ends."""
        self.finish()
        self._tell_not_observed()

    def observe_roots(self, roots: Sequence[Tensor]) -> None:
        """A backward pass starts from these losses."""
        if self._is_open and self._guard.enabled(PART):
            with self._guard(PART):
                self.loss_op = self._modules.observe_roots(roots) or self.loss_op

    def settle(self, phase: str, step: int | None = None) -> None:
        """What the forwards were that wait for it."""
        if self._wanted and self._guard.enabled(PART):
            with self._guard(PART):
                self._modules.settle(phase, step)
                packet = None if self._is_open else self._modules.settled()
                if packet is not None:
                    self._put(packet)

    def _charge_modes(self) -> None:
        self._charge(self._modules.cost_s - self._charged_s)
        self._charged_s = self._modules.cost_s

    def _tell_not_observed(self) -> None:
        """Once, when it is known where forwards enter: one event for each reason."""
        if self._is_told:
            return
        self._is_told = True
        hidden: dict[str, list[str]] = {}
        for path, reason in self._modules.not_observed.items():
            hidden.setdefault(reason, []).append(path or "the model")
        for reason, paths in hidden.items():
            advice = f". {self._advice}" if reason in OF_COMPILER else ""
            message = f"{', '.join(paths)}: {reason}{advice}"
            self._emit(Event(kind="not_observed", message=message))
