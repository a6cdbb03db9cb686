"""Finds where the first value that is not finite came from, once in a run, when there is one.

The loss is looked at when its backward pass begins, a few gradients before the optimizer takes
them: on a CPU that reads memory, and waits for nothing. A bad one is followed up before the
optimizer can spread it. The loss of another device is known later, from the writer thread, when
only traces are left.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.event import Event
from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.torch_state import forward_is_plain, in_backward
from telemetry.capture.nonfinite.flow import Birth, tally_of
from telemetry.capture.nonfinite.origin import KIND, How, Origin, What, by_gradients, traced_back
from telemetry.capture.nonfinite.probes import GradientProbes
from telemetry.capture.nonfinite.replay import KeptForward, Seen, seen_in_backward, seen_in_forward
from telemetry.capture.nonfinite.traces import parameter_facts
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.host import host_number
from telemetry.capture.tensors.loss_graph import losses_of

if TYPE_CHECKING:
    from telemetry.capture.steps.provenance import ClipRecord

N_WATCHED = 4  # backward passes after which it is known whether forwards draw random numbers
MAX_FORWARDS = 4  # of those before a backward pass: the loop holds their inputs itself
MOMENTS = (
    "forward",
    "before_backward",
    "before_step",
    "step_skipped",
    "step_ended",
)
MAX_SEARCHES = 4  # that a loss scaler made pointless


class OriginObserver(StepObserver):
    """Emits one event `non_finite`, and then sleeps."""

    part: ClassVar[str] = "origin"
    at_rest = frozenset({"step_skipped", "step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._forwards: list[KeptForward] = []
        self._window_is_over = False  # a backward pass has begun since the last forward
        self._probes = GradientProbes(around.catalogue)
        self._last_step: int | None = None  # in which an optimizer stepped
        self._last_clip: ClipRecord | None = None  # of that step
        self._found: Origin | None = None
        self._n_searches = 0
        self._failure = ""
        device = next((p.device for p in around.model.parameters()), torch.device("cpu"))
        self._device, self._kind = device, device.type
        self._draws = True  # forwards draw random numbers, as far as is known
        self._has_drawn = False
        self._n_watched = 0

    # --- moments of a step --------------------------------------------------------------------

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """Keep what it was given until the optimizer steps."""
        del record
        forwards = self._forwards
        if self._window_is_over or len(forwards) == MAX_FORWARDS:
            self._window_is_over = False
            forwards.clear()
        kind = self._kind
        forwards.append(
            KeptForward(
                module,
                args,
                kwargs,
                torch.default_generator.get_state() if self._draws else None,
                self._device_state() if self._draws and kind != "cpu" else None,
                torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None,
            )
        )

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Look at the loss."""
        self._window_is_over = True
        if self._n_watched < N_WATCHED:
            self._watch_first()
        if self._probes.are_sought:
            self._probes.look(roots)
        for root in record.roots[-len(roots) :]:
            number = host_number(root)
            if number is None:
                self._look_late(record)
            elif not math.isfinite(number):
                with self.around.guard.meter.exactly():
                    self._search(record, roots)
                return

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Look at a few gradients; what was found is about to be applied."""
        clip = record.clip
        if self._found is None and not (
            self._probes.are_finite(optimizer)
            if clip is None
            else self._are_finite(clip, optimizer)
        ):
            with self.around.guard.meter.exactly():
                self._search_gradients(record)
        if self._found is None:
            self._n_searches = 0
        self._last_step = record.step
        self._last_clip = clip
        self._forwards.clear()
        if self._found is not None:
            self._tell(record)

    def step_skipped(self, record: StepRecord, optimizer: Optimizer) -> None:
        """What was found harms nobody: a loss scaler makes such steps to find its scale."""
        del record, optimizer
        self._found = None
        self.rest("step_skipped")
        self.rest("step_ended")

    def step_ended(self, record: StepRecord) -> None:
        """The loop may have applied it by itself."""
        if self._found is not None:
            self._tell(record)

    def close(self) -> None:
        """The loop may have stopped at what was found."""
        if self._found is not None:
            self._tell(self.around.ledger.current)
        self._forwards.clear()

    # --- between searches ---------------------------------------------------------------------

    def _device_state(self) -> Tensor:
        state: Tensor = torch.get_device_module(self._kind).get_rng_state(self._device)
        return state

    def _watch_first(self) -> None:
        """Whether forwards draw random numbers: a state is half of what keeping one costs."""
        self._n_watched += 1
        now = (
            torch.default_generator.get_state(),
            self._device_state() if self._kind != "cpu" else None,
        )
        for forward in self._forwards:
            self._has_drawn |= not _same_states((forward.random_state, forward.device_state), now)
        if self._n_watched == N_WATCHED:
            self._draws = self._has_drawn

    # --- the search ---------------------------------------------------------------------------

    def _are_finite(self, clip: "ClipRecord", optimizer: Optimizer) -> bool:
        """Whether no gradient that was clipped is seen to be anything else."""
        norm = None if clip.total_norm is None else host_number(clip.total_norm)
        if norm is None:
            return self._probes.are_finite(optimizer)
        return math.isfinite(norm) and (clip.covers_all or self._probes.are_finite(optimizer))

    def _search_gradients(self, record: StepRecord) -> None:
        # A fused optimizer looks itself whether a loss scaler found an infinity.
        if record.found_inf or in_backward():
            return
        spread = record.clip is not None
        facts = parameter_facts(self.around.catalogue)
        found = by_gradients(facts, step=record.step, spread=spread)
        if found is None or any(p.weight.is_bad for p in facts):
            return
        bad = {p.key for p in facts if p.gradient is not None and p.gradient.is_bad}
        self._failure = ""
        for forward in self._forwards if forward_is_plain() else ():
            with contained(self._failed):
                seen = seen_in_backward(self.around.model, forward, bad, only=not spread)
                if seen.birth is not None:
                    self._found = _of_birth(seen.birth, record.step)
                    return
        note = f"{found.note}; when the forward pass ran again, it {self._failure}"
        self._found = replace(found, note=note) if self._failure else found

    def _finite_gradients(self) -> set[int]:
        """Identities of parameters whose gradients were seen to be finite before the last step."""
        finite = {id(p) for o in self.around.optimizers for p in self._probes.of(o)}
        clip = self._last_clip
        if clip is not None and clip.total_norm is not None:
            finite.update(*(call.parameters for call in clip.calls))
        return finite

    def _search(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        if self._found is not None or self._n_searches == MAX_SEARCHES:
            return
        self._n_searches += 1
        facts = parameter_facts(self.around.catalogue, seen_finite=self._finite_gradients())
        found = traced_back(facts, step=record.step, last_step=self._last_step)
        self._keep(found or self._of_loss(record.step, roots))

    def _look_late(self, record: StepRecord) -> None:
        """What is left when the writer thread has seen a loss that was on an accelerator."""
        step = self.around.first_bad_loss()
        if step is None or self._found is not None or self._n_searches:
            return
        self._n_searches += 1
        found = traced_back(parameter_facts(self.around.catalogue), step=step, last_step=step)
        if found is not None:
            late = f"noticed {record.step - step} steps later, on an accelerator"
            self._keep(replace(found, note=f"{found.note}; {late}" if found.note else late))

    def _of_loss(self, step: int, roots: Sequence[Tensor]) -> Origin:
        if not self._forwards or not forward_is_plain():
            note = "its forward pass could not be seen (compiled, or run in another thread)"
            return Origin(what=What.LOSS, how=How.NOT_OBSERVED, step=step, note=note)
        self._failure = ""
        for forward in self._forwards:
            seen = self._seen(forward)
            if seen is not None and seen.is_bad:
                return _of_birth(seen.birth, step)
        if self._failure:
            note = f"when the forward pass ran again, it {self._failure}"
            return Origin(what=What.LOSS, how=How.NOT_REPRODUCED, step=step, note=note)
        return _of_loss(step, roots)

    def _seen(self, forward: KeptForward) -> Seen | None:
        with contained(self._failed):
            return seen_in_forward(self.around.model, forward)
        return None

    def _failed(self, error: Exception) -> None:
        self._failure = f"raised {type(error).__name__}: {error}"

    def _keep(self, found: Origin) -> None:
        self._found = found
        self.wake("step_skipped")
        self.wake("step_ended")

    def _tell(self, record: StepRecord) -> None:
        found, self._found = self._found, None
        if found is None:
            return
        self.around.emit(
            Event(
                kind=KIND,
                severity="error",
                message=found.message,
                payload=found.payload(record.step),
            )
        )
        self._forwards.clear()
        for moment in MOMENTS:
            self.rest(moment)


def _same_states(before: tuple[Tensor | None, ...], now: tuple[Tensor | None, ...]) -> bool:
    pairs = zip(before, now, strict=True)
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def _of_birth(birth: Birth | None, step: int) -> Origin:
    if birth is None:
        note = "the operation is not known"
        return Origin(what=What.OUTPUT, how=How.OBSERVED, step=step, module="", note=note)
    is_weight = birth.what is What.WEIGHT
    return Origin(
        what=birth.what,
        how=How.OBSERVED,
        step=step,
        module=birth.place.rpartition(".")[0] if is_weight else birth.place,
        parameter=birth.place if is_weight else None,
        operation=birth.operation,
        tally=birth.tally,
    )


def _of_loss(step: int, roots: Sequence[Tensor]) -> Origin:
    """The model returns finite values: what is left is what is made of them, and the target."""
    losses = losses_of(roots)
    if any(tally_of(loss.scores).n_nan for loss in losses):
        note = "the model returned non-finite values, but finite ones when it ran again"
        return Origin(what=What.OUTPUT, how=How.NOT_REPRODUCED, step=step, module="", note=note)
    tallies = [tally_of(loss.target) for loss in losses if loss.target is not None]
    bad = next((tally for tally in tallies if tally.is_bad), None)
    note = "when the model ran again, its output was finite"
    if bad is not None:
        note = "the target contains values that are not finite"
    return Origin(what=What.LOSS, how=How.OBSERVED, step=step, tally=bad, note=note)
