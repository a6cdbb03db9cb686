"""Hooks that the module half puts on modules and tensors for one sampled step.

They are inert under torch.compile, which may trace them, and they do not travel: a copy or pickle
of a model takes a standard library function in their place that does nothing, so that it can be
loaded where this package is not installed.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from telemetry.capture.activations.modules import ModuleNode
from telemetry.capture.activations.records import Forward
from telemetry.capture.activations.recurrent import MAX_STEPS, GradientPlace
from telemetry.capture.steps.entry_hook import Arguments, DoesNotTravel

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class ForwardEvents(Protocol):
    """Who is told of forwards and gradients, and the block that contains what goes wrong."""

    @property
    def contained(self) -> AbstractContextManager[object]:
        """No exception leaves this block."""
        ...

    def enter(self, node: ModuleNode) -> None:
        """The forward of a module inside begins."""
        ...

    def leave(self, node: ModuleNode, args: tuple[object, ...], output: object) -> None:
        """The forward of a module has ended; the output is None after an exception."""
        ...

    def enter_recurrent(
        self, node: ModuleNode, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """The forward of a recurrent module begins: the arguments it shall have, None for these."""
        ...

    def gradient(self, hook: "GradientHook", values: Tensor) -> None:
        """The gradient of a module's output or input has arrived."""
        ...


MAX_FORWARDS = 64  # of one step whose gradients are recorded


class Frame:
    """A module whose forward is running, and how often it called each functional activation."""

    __slots__ = ("counts", "node")

    def __init__(self, node: ModuleNode) -> None:
        self.node = node
        self.counts: Counter[str] = Counter()


@dataclass(slots=True, kw_only=True, eq=False)
class Visit:
    """What a sampled step has on the model, and what is running.

    Attributes:
        step: Optimizer step.
        is_evaluation: Only an evaluation is looked at; the step is not sampled.
        thread: The only thread whose forwards are looked at.
        entry_handles: Hooks that stay for the step.
        inner_handles: Hooks of the forward that is running.
        frames: Modules whose forward is running, the outermost first.
        forward: The outermost forward that is running.
        order: Paths in the order of their first call.
        entries: Nodes that were outermost.
        n_forwards: Outermost forwards so far.
        calls: Of each path in the outermost forward that is running.
        last_output: What the module that ended last returned, and which version of it.
        mode_is_on: Whether the dispatch mode was entered and not left.
        failed: Whether something went wrong: nothing more is looked at.
        train_seen: Whether a forward with gradient was observed.
        roots_seen: Whether a backward pass began.
    """

    step: int
    is_evaluation: bool = False
    thread: int = field(default_factory=threading.get_ident)
    entry_handles: "list[RemovableHandle]" = field(default_factory=list)
    inner_handles: "list[RemovableHandle]" = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    forward: Forward | None = None
    order: dict[str, None] = field(default_factory=dict)
    entries: list[ModuleNode] = field(default_factory=list)
    n_forwards: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    last_output: tuple[Tensor, int] | None = None
    mode_is_on: bool = False
    failed: bool = False
    train_seen: bool = False
    roots_seen: bool = False

    def is_inside(self) -> bool:
        """Whether this thread runs an outermost forward that is observed."""
        return bool(self.frames) and threading.get_ident() == self.thread

    def wants_gradient(self, call: int) -> bool:
        """Whether the gradient of this call of a module in the running forward is recorded."""
        return call < MAX_STEPS and self.n_forwards <= MAX_FORWARDS

    def hands_on(self, output: Tensor) -> bool:
        """Whether that is what the module before returned, unchanged; remembers it."""
        # Inference tensors do not count their versions.
        latest = (output, -1 if output.is_inference() else output._version)  # noqa: SLF001 - no public name
        before, self.last_output = self.last_output, latest
        return before is not None and before[0] is output and before[1] == latest[1]

    def push(self, node: ModuleNode) -> None:
        """The forward of a module begins."""
        self.order.setdefault(node.path)
        self.frames.append(Frame(node))

    def left(self, node: ModuleNode) -> bool:
        """The forward of a module has ended; what it left open inside has ended with it.

        Returns:
            Whether that forward was known to have begun.
        """
        for depth in range(len(self.frames) - 1, -1, -1):
            if self.frames[depth].node is node:
                del self.frames[depth:]
                return True
        if not node.needs_frame:
            self.order.setdefault(node.path)
        return not node.needs_frame


class RecurrentHook(DoesNotTravel):
    """Forward pre-hook, with keyword arguments, of a recurrent module inside."""

    __slots__ = ("_events", "_node")

    def __init__(self, events: ForwardEvents, node: ModuleNode) -> None:
        self._events = events
        self._node = node

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """Tell, and pass on an alias of the input."""
        del module
        if torch.compiler.is_compiling():
            return None
        arguments = None
        with self._events.contained:
            arguments = self._events.enter_recurrent(self._node, args, kwargs)
        return arguments  # noqa: RET504 - the block may have ended early


class EnterHook(DoesNotTravel):
    """Forward pre-hook of a module inside."""

    __slots__ = ("_events", "_node")

    def __init__(self, events: ForwardEvents, node: ModuleNode) -> None:
        self._events = events
        self._node = node

    def __call__(self, module: nn.Module, args: tuple[object, ...]) -> None:
        """Tell; changes nothing."""
        del module, args
        if not torch.compiler.is_compiling():
            with self._events.contained:
                self._events.enter(self._node)


class LeaveHook(DoesNotTravel):
    """Forward hook that is called after an exception too."""

    __slots__ = ("_events", "_node")

    def __init__(self, events: ForwardEvents, node: ModuleNode) -> None:
        self._events = events
        self._node = node

    def __call__(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        """Tell; changes nothing."""
        del module
        if not torch.compiler.is_compiling():
            with self._events.contained:
                self._events.leave(self._node, args, output)


def hook_leave(events: ForwardEvents, node: ModuleNode) -> "RemovableHandle":
    """Wait for the end of a module's forward."""
    return node.module.register_forward_hook(LeaveHook(events, node), always_call=True)


def hook_inside(events: ForwardEvents, node: ModuleNode) -> "Iterator[RemovableHandle]":
    """Wait for the forward of a module inside: its end, and its beginning where that is needed."""
    if node.needs_frame:
        yield node.module.register_forward_pre_hook(EnterHook(events, node))
    if node.recurrent:
        watch = RecurrentHook(events, node)
        yield node.module.register_forward_pre_hook(watch, with_kwargs=True)
    yield hook_leave(events, node)


class GradientHook(DoesNotTravel):
    """Tensor hook on what a module returned or read.

    Attributes:
        visit: The step it belongs to.
        node: The module.
        forward: The outermost forward.
        place: Which gradient it is.
    """

    __slots__ = ("_events", "forward", "node", "place", "visit")

    # torch warns when a tensor with hooks is pickled, unless a hook says that it may be lost.
    __torch_unserializable__ = True

    def __init__(
        self,
        events: ForwardEvents,
        visit: Visit,
        node: ModuleNode,
        forward: Forward,
        place: GradientPlace,
    ) -> None:
        self._events = events
        self.visit = visit
        self.node = node
        self.forward = forward
        self.place = place

    def __call__(self, gradient: Tensor) -> None:
        """Tell; changes nothing."""
        with self._events.contained:
            self._events.gradient(self, gradient)
