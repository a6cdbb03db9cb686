"""Activations, output gradients and loss inputs of the forwards of sampled steps.

A pre-hook waits where forwards may enter; in a sampled step it hooks the modules inside, for this
forward alone, so that a copy or pickle of the model made between forwards takes no more than an
inert hook with it. Forwards under torch.compile, tracing, functional transforms, graph capture,
another dispatch mode or in another thread are left alone, and what checkpointing recomputes.
"""

import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from telemetry.capture.activations.forward_hooks import (
    GradientHook,
    Visit,
    hook_inside,
    hook_leave,
)
from telemetry.capture.activations.modules import (
    ModuleNode,
    first_tensor,
    module_nodes,
    modules_signature,
    unobservable,
)
from telemetry.capture.activations.operations import OperationObserver
from telemetry.capture.activations.recorder import SiteRecorder
from telemetry.capture.activations.records import TRAIN, Forward, Observation
from telemetry.capture.activations.recurrent import GradientPlace, returned_steps, watched_input
from telemetry.capture.activations.rows import ModulePacket
from telemetry.capture.activations.statistics import is_observable, unreadable
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.isolation.hook_scope import another_mode, undispatched
from telemetry.capture.isolation.torch_state import (
    forward_is_plain,
    in_backward,
    something_was_compiled,
)
from telemetry.capture.losses.packet import LossPacket
from telemetry.capture.parameters.statistics.dead_bitmap import DeadWindows
from telemetry.capture.steps.entry_hook import Arguments, entry_modules, hook_entry
from telemetry.capture.tensors.inputs import tensors_in

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

PART = "modules"
INPUT_GRAD = "input_grad"
N_SEARCHES = 3  # steps in which every module may be an entry, to find loops that skip the root
NOTHING_SEEN = "no forward pass was seen: compiled by torch.compile, or run in another thread"
FAST_PATH = "its fused kernel for evaluation runs without hooks"


class ModuleObserver:
    """Observes the modules of a model on sampled steps.

    Args:
        model: Unwrapped; paths are those of its `named_modules()`.
        guard: Contains what fails inside a hook; without one it is raised.
        runs_eagerly: What torch.compile compiled is run as if it were not, and without gradient.

    Attributes:
        execution_order: Paths in the order of their first call in the first step whose training
            forward (or eager one) was observed; empty until then.
        not_observed: Reason by path for what cannot be seen.
        contained: A block for what hooks do.
        may_evaluate: Of a forward with gradient: it waits for its phase as one without does.
    """

    def __init__(
        self, model: nn.Module, *, guard: Guard | None = None, runs_eagerly: bool = False
    ) -> None:
        self._runs_eagerly = runs_eagerly
        self.execution_order: tuple[str, ...] = ()
        self.not_observed: dict[str, str] = {}
        self.may_evaluate = False
        self._model = model
        self._signature = (0, 0)
        self._nodes: list[ModuleNode] = []
        self._entries: list[ModuleNode] = []
        self._standing: frozenset[nn.Module] = frozenset()
        self._look_up_modules()
        self._guard = guard or Guard(strict=True, on_failure=_is_raised)
        self.contained = self._guard(PART)
        self._recorder = SiteRecorder()
        self._windows = DeadWindows()
        self._operations = OperationObserver(self._recorder, self._guard)
        # Forwards whose phase is not known, by entry: one each.
        self._waiting: dict[str, Forward] = {}
        self._searches_left = N_SEARCHES
        self._searching = False
        self._visit: Visit | None = None

    @property
    def cost_s(self) -> float:
        """Seconds spent between the operations of forwards; the guard's meter has all others."""
        return self._operations.cost_s

    def attach(self, hooked: Collection[nn.Module] = ()) -> "list[RemovableHandle]":
        """Hook for good where forwards enter; torch.compile traces anew when a hook comes or goes.

        Args:
            hooked: Modules with a hook of somebody who calls `forward_begins`.

        Returns:
            Handles that remove the hooks.
        """
        entries = {node.module for node in self._entries}
        self._standing = frozenset(entries | set(hooked))
        return [hook_entry(module, self.forward_begins) for module in entries - set(hooked)]

    def begin(self, step: int, *, is_evaluation: bool = False) -> None:
        """Wait for the forwards of a sampled step, or of an evaluation.

        Args:
            step: Optimizer step to which forwards and gradients belong.
            is_evaluation: No other forwards of the step are looked at.
        """
        self._disarm()
        self._look_up_modules()
        self._visit = visit = Visit(step=step, is_evaluation=is_evaluation)
        self._operations.begin(visit)
        for node in self._nodes if self._searching else self._entries:
            reason = unobservable(node.module, runs_eagerly=self._runs_eagerly)
            if reason is not None:
                self.not_observed[node.path] = reason
                continue
            if node.module in self._standing:
                continue
            visit.entry_handles.append(hook_entry(node.module, self.forward_begins))

    def end(self) -> ModulePacket | None:
        """Remove every hook, leave the mode, and pack what was seen and is settled.

        Returns:
            None when there is nothing to write.
        """
        visit = self._disarm()
        if visit is not None:
            self._learn(visit)
        return self._packet(self._recorder.take())

    def end_evaluation(self) -> None:
        """Remove every hook, leave the mode; what was seen waits for its phase."""
        self._disarm()

    def settled(self) -> ModulePacket | None:
        """Outside of sampled steps: what is known to be of a phase."""
        return self._packet(self._recorder.take_settled())

    def _packet(self, observations: Sequence[Observation[Tensor]]) -> ModulePacket | None:
        return ModulePacket.of(observations, self._windows) if observations else None

    def take_losses(self) -> list[LossPacket]:
        """The losses that were followed since the last call."""
        return self._operations.losses.take()

    def settle(self, phase: str, step: int | None = None) -> None:
        """Say of which phase the forwards are that wait for it, and of which step, if another."""
        for forward in self._waiting.values():
            forward.phase = phase
            forward.step = forward.step if step is None else step
        self._waiting.clear()

    def observe_roots(self, roots: Sequence[Tensor]) -> str | None:
        """Look at the losses a backward pass starts from, before it frees them; which they are."""
        visit = self._visit
        if visit is None:
            return None
        visit.roots_seen = True
        self._operations.root(roots, visit.step)
        return self._recorder.losses(roots, Forward(step=visit.step, phase=TRAIN))

    # --- what the hooks call ------------------------------------------------------------------

    def forward_begins(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """A forward may enter here: hook what is inside; the arguments it shall have, if others."""
        arguments = None
        with self.contained:
            arguments = self._enter_outermost(module, args, kwargs)
        return arguments  # noqa: RET504 - the block may have ended early

    def _enter_outermost(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        visit = self._visit
        if visit is None or visit.failed or threading.get_ident() != visit.thread:
            return None
        node = self._entry(module)
        if node is None:
            return None
        if visit.frames:
            if visit.frames[0].node.module is node.module:
                visit.push(node)  # it calls itself; as the entry it has no EnterHook
            return None
        if not forward_is_plain():
            return None
        visit.failed = True
        with self._guard.metered(), self._guard(PART):
            forward = self._open(visit, node)
            if forward is not None:
                with undispatched():
                    inputs = (*tensors_in(args), *tensors_in(kwargs))
                    self._recorder.input(node, inputs, forward)
                    self._operations.given(inputs)
            visit.failed = False
        return self.enter_recurrent(node, args, kwargs) if node.recurrent else None

    def enter(self, node: ModuleNode) -> None:
        """The forward of a module inside begins."""
        visit = self._visit
        if visit is not None and visit.is_inside():
            visit.push(node)

    def enter_recurrent(
        self, node: ModuleNode, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """The forward of a recurrent module begins: let it read an alias of its input."""
        visit = self._visit
        if visit is None or visit.failed or visit.forward is None or not visit.is_inside():
            return None
        if visit.forward.phase != TRAIN or not torch.is_grad_enabled() or in_backward():
            return None
        if another_mode(than_own=visit.mode_is_on):
            return None  # it would see the alias in the backward pass
        call = visit.calls[node.path]
        if not visit.wants_gradient(call):
            return None
        arguments = None
        visit.failed = True
        with self._guard.metered(), self._guard(PART), undispatched():
            watched = watched_input(node.module, args, kwargs)
            if watched is not None:
                place = GradientPlace(site=INPUT_GRAD, call=call, steps=watched.steps)
                self._hook_gradient(visit, node, watched.alias, place)
                arguments = watched.arguments
            visit.failed = False
        return arguments

    def leave(self, node: ModuleNode, args: tuple[object, ...], output: object) -> None:
        """The forward of a module has ended; the output is None after an exception."""
        visit = self._visit
        if visit is None or not visit.is_inside() or not visit.left(node):
            return
        with self._guard.metered():
            if output is not None and not visit.failed:
                visit.failed = True
                with self._guard(PART), undispatched():
                    self._observe_output(visit, node, output)
                    if node.has_parameters:
                        self._operations.losses.tape.layer_left(node.path, first_tensor(output))
                    if node.embedding and args and visit.forward is not None:
                        self._recorder.embedded(node, args[0], visit.forward)
                    visit.failed = False
            if not visit.frames:
                self._close(visit)

    def gradient(self, hook: GradientHook, values: Tensor) -> None:
        """A gradient has arrived; those of graphs of other steps come too late."""
        visit = hook.visit
        if visit is self._visit and not visit.failed:
            visit.failed = True
            with self._guard.metered(), self._guard(PART), undispatched():
                self._recorder.gradient(hook.node, values, hook.forward, hook.place)
                visit.failed = False

    # --- inside -------------------------------------------------------------------------------

    def _look_up_modules(self) -> None:
        """Take the modules as they are now: adapters may be injected, parts be compiled later."""
        signature = modules_signature(self._model)
        if signature == self._signature:
            return
        self._signature = signature
        self._nodes, hidden = module_nodes(self._model, runs_eagerly=self._runs_eagerly)
        self.not_observed.update(hidden)
        entries = {*entry_modules(self._model), *(node.module for node in self._entries)}
        self._entries = [node for node in self._nodes if node.module in entries]

    def _open(self, visit: Visit, node: ModuleNode) -> Forward | None:
        """Hook the modules inside for one outermost forward; None if it is not to be seen."""
        has_gradient = torch.is_grad_enabled() and not self.may_evaluate
        if not has_gradient and (node.path in self._waiting or node.runs_fused()):
            return None
        self._look_up_modules()
        forward = Forward(step=visit.step, phase=TRAIN if has_gradient else None)
        if has_gradient:
            visit.train_seen = True
        else:
            self._waiting[node.path] = forward
        _remove(visit.inner_handles)  # one that an exception kept from being removed
        visit.forward = forward
        visit.entries.append(node)
        visit.n_forwards += 1
        visit.calls.clear()
        visit.push(node)
        visit.inner_handles.append(hook_leave(self, node))
        for inner in self._nodes:
            if inner.module is node.module:
                continue
            if not has_gradient and inner.runs_fused():
                self.not_observed.setdefault(inner.path, FAST_PATH)
                continue
            visit.inner_handles.extend(hook_inside(self, inner))
        self._operations.enter(may_evaluate=not has_gradient)
        return forward

    def _entry(self, module: nn.Module) -> ModuleNode | None:
        nodes = self._nodes if self._searching else self._entries
        return next((node for node in nodes if node.module is module), None)

    def _observe_output(self, visit: Visit, node: ModuleNode, output: object) -> None:
        forward = visit.forward
        if forward is None:
            return
        call = visit.calls[node.path]
        visit.calls[node.path] = call + 1
        first = first_tensor(output) if node.observed or node.is_block else None
        if first is not None and not is_observable(first):
            reason = unreadable(first)
            if reason is not None:
                self.not_observed.setdefault(node.path, reason)
        # What a block hands on from its last module was seen there.
        elif first is not None and not (visit.hands_on(first) and node.is_block):
            self._recorder.output(node, first, forward)
            if forward.phase == TRAIN and visit.wants_gradient(call):
                self._hook_outputs(visit, node, output, call)
        if not visit.frames:
            outputs = list(tensors_in(output))
            self._recorder.root_outputs(node, outputs, forward)
            if forward.phase == TRAIN and torch.is_grad_enabled():
                self._operations.forward_left(node.path, outputs)

    def _hook_outputs(self, visit: Visit, node: ModuleNode, output: object, call: int) -> None:
        """Wait for the gradient of an output, and of the last state of a recurrent module."""
        if not node.recurrent:
            self._hook_gradient(visit, node, output, GradientPlace(call=call))
            return
        for values, steps in returned_steps(node.module, output):
            self._hook_gradient(visit, node, values, GradientPlace(call=call, steps=steps))

    def _hook_gradient(
        self, visit: Visit, node: ModuleNode, values: object, place: GradientPlace
    ) -> None:
        first = first_tensor(values)
        if visit.forward is not None and first is not None and first.requires_grad:
            hook = GradientHook(self, visit, node, visit.forward, place)
            first.register_hook(hook)  # type: ignore[no-untyped-call]

    def _close(self, visit: Visit) -> None:
        """The outermost forward is over: leave the mode, take the hooks inside away."""
        visit.frames.clear()
        visit.forward = None
        visit.last_output = None
        self._operations.leave()
        if sys.exc_info()[0] is None:
            _remove(visit.inner_handles)
        # Else torch may be walking over these very hooks; the next forward or `end` removes them.

    def _disarm(self) -> Visit | None:
        visit, self._visit = self._visit, None
        if visit is not None:
            self._close(visit)
            self._operations.end()
            _remove(visit.inner_handles)
            _remove(visit.entry_handles)
        return visit

    def _learn(self, visit: Visit) -> None:
        """Take the execution order, and find out through which modules forwards enter."""
        if (visit.train_seen or self._runs_eagerly) and not self.execution_order:
            self.execution_order = tuple(visit.order)
        if visit.train_seen and self.not_observed.get("") == NOTHING_SEEN:
            del self.not_observed[""]
        elif visit.roots_seen and not visit.train_seen:
            self.not_observed.setdefault("", NOTHING_SEEN)
        entries = {node.module: node for node in [*self._entries, *visit.entries]}
        self._entries = list(entries.values())
        unseen = any(n.has_parameters and n.path not in visit.order for n in self._nodes)
        self._searching = (
            unseen and visit.roots_seen and self._searches_left > 0 and not something_was_compiled()
        )
        self._searches_left -= self._searching


def _remove(handles: "list[RemovableHandle]") -> None:
    for handle in handles:
        handle.remove()
    handles.clear()


def _is_raised(part: str, error: Exception) -> None:
    del part, error
