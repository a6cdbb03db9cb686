"""What happened to the gradients of a step before the optimizer saw them, if it ever did."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.event import Event
from telemetry.capture.gradients import scaler
from telemetry.capture.gradients.clipping import ClipObserver
from telemetry.capture.isolation.guard import guarded
from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.provenance import ClipCall, ClipRecord, loss_scale
from telemetry.format.step_flags import StepFlag

COMPILED_CLIPPING = Event(
    kind="not_observed",
    message="gradients are clipped inside a compiled function: they are recorded after "
    "clipping, and their norms before it are not known. Call clip_grad_norm_ outside "
    "that function.",
)


class ProvenanceWatch(StepObserver):
    """Notes clipping, loss scale and refused steps in the record of each step.

    It sleeps until gradients are clipped, a scaler steps, or a sample needs its total norm.
    """

    part: ClassVar[str] = "provenance"
    at_rest = frozenset({"before_step", "after_step", "step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._guard = around.guard
        self._clip = ClipObserver(self._wake, self._cannot_see)
        self._is_hidden = False  # whether gradients may be clipped where nobody sees it
        self._optimizers = frozenset(around.optimizers)
        self._scale: Tensor | None = None  # of the scaler whose step is running
        self._has_stepped = False  # the optimizer, within that step
        self._calls: dict[ClipCall, None] = {}  # of the step, each once
        self._told: set[int] = set()  # optimizers that were told of their calls in the step
        self._n_covered = 0  # optimizers of which every gradient was clipped by norm

    def attached(self) -> None:
        """Observe torch's clipping functions and scalers."""
        self._clip.install()
        scaler.observe(self)

    def close(self) -> None:
        """Put them back."""
        self._clip.close()
        scaler.forget(self)

    # --- moments of a step --------------------------------------------------------------------

    def sample_begins(self, record: StepRecord) -> None:
        """Its total norm comes from the samples of its optimizers."""
        del record
        self.wake("step_ended")
        if self._is_hidden:
            self.wake("before_step")

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Note how its gradients came to be what they are."""
        self._has_stepped = True
        if self._scale is not None:
            self._note_fused(record, optimizer)
        self._note(record, optimizer)

    def after_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """What further evaluations of a closure clipped is of no step."""
        del record
        self._clip.take(parameters_of(optimizer))

    def step_skipped(self, record: StepRecord, optimizer: Optimizer) -> None:
        """The same for gradients that the optimizer never saw."""
        self._note(record, optimizer)

    def step_ended(self, record: StepRecord) -> None:
        """Sum up over the optimizers of the step."""
        if not self.around.optimizers:
            self._add(self._clip.take(self.around.model.parameters()))
        n_stepped = max(1, self.around.ledger.n_stepped)
        if self._calls:
            self._sum_up(record, ClipRecord(calls=tuple(self._calls)), n_stepped)
        if record.grad_norm_total is None:
            record.grad_norm_total = total_norm(record.grad_norms, n_stepped)
        else:  # the norm of a clipping call is of all ranks already
            record.sharded_grad_sumsqs = ()
        record.clip = None
        self._calls.clear()
        self._told.clear()
        self._n_covered = 0
        if not self._clip.forget_taken():
            for moment in self.at_rest:
                self.rest(moment)

    # --- moments of a scaler ------------------------------------------------------------------

    @guarded(part)
    def unscaling(self, optimizer: Optimizer, scale: Tensor) -> None:
        """Clippings until now saw the scaled gradients."""
        if optimizer in self._optimizers:
            with undispatched():
                self._clip.note_unscaling(parameters_of(optimizer), scale)

    @guarded(part)
    def stepping(self, optimizer: Optimizer, scale: Tensor) -> None:
        """Keep the scale as it is before `update`."""
        if optimizer in self._optimizers:
            with undispatched():
                self._scale = scale.detach().clone()
                self._has_stepped = False
                self._wake()

    @guarded(part)
    def stepped(self, optimizer: Optimizer) -> None:
        """Where the optimizer was not reached, the scaler has refused the step."""
        if optimizer in self._optimizers:
            with undispatched():
                if not self._has_stepped:
                    self.around.skipped(optimizer)
                self._scale = None

    # --- inside -------------------------------------------------------------------------------

    def _cannot_see(self) -> None:
        """Clipping is compiled into a function: from here on nobody knows how much was clipped."""
        if not self._is_hidden:
            self._is_hidden = True
            self.around.emit(COMPILED_CLIPPING)
            self._wake()

    def _wake(self) -> None:
        for moment in self.at_rest:
            self.wake(moment)

    def _note_fused(self, record: StepRecord, optimizer: Optimizer) -> None:
        """What an optimizer that unscales and refuses by itself was handed for this step."""
        scale = loss_scale(optimizer)
        if scale is not None:  # all clipping came before
            self._clip.note_unscaling(parameters_of(optimizer), scale)
        found_inf = getattr(optimizer, "found_inf", None)
        if isinstance(found_inf, Tensor):
            record.found_inf += (found_inf.detach(),)

    def _note(self, record: StepRecord, optimizer: Optimizer) -> None:
        if self._scale is not None:
            record.loss_scale = self._scale
        record.clip = clip = self._clip.take(parameters_of(optimizer))
        if self._is_hidden:
            record.clip = _unknown(optimizer)
        if id(optimizer) not in self._told:  # of a critic's steps, the first is recorded
            self._told.add(id(optimizer))
            self._add(clip)

    def _sum_up(self, record: StepRecord, clip: ClipRecord, n_stepped: int) -> None:
        record.clip_coefficient = clip.coefficient
        if self._n_covered == n_stepped:
            record.grad_norm_total = clip.total_norm
        if clip.by_value:
            record.flags |= StepFlag.VALUE_CLIPPING
        if any(call.loss_scale is not None for call in clip.calls):
            record.flags |= StepFlag.CLIPPED_BEFORE_UNSCALING

    def _add(self, clip: ClipRecord | None) -> None:
        if clip is not None:
            self._calls.update(dict.fromkeys(clip.calls))
            self._n_covered += clip.covers_all


def _unknown(optimizer: Optimizer) -> ClipRecord:
    """Every gradient may have been clipped, nobody knows how much."""
    identities = frozenset(map(id, parameters_of(optimizer)))
    return ClipRecord(calls=(ClipCall(parameters=identities, by_value=True),), covers_all=False)


def total_norm(norms: Sequence[Tensor | None], n_parts: int) -> Tensor | None:
    """Norm of what several parts have the norms of, 0-d; None where one is not known."""
    known = [norm for norm in norms if norm is not None]
    if len(known) < n_parts:
        return None
    if len(known) == 1:
        return known[0]
    return torch.stack([norm.to(known[0].device) for norm in known]).square().sum().sqrt()
