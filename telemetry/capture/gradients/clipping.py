"""Sees what torch's clipping functions do.

Clipping by norm is observed where all its forms meet: `clip_grad_norm_`, however a script imported
it, looks up `_get_total_norm` and `_clip_grads_with_norm_` in `torch.nn.utils.clip_grad` on each
call. They are replaced by functions that call the originals and note what they did, as are the
public names of both. `clip_grad_value_` looks up `_group_tensors_by_device_and_dtype` there, with
the gradients that it clips; so do the former two, while they run. The originals are put back when
the last observer closes.
"""

import functools
import logging
import threading
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import utils
from torch.nn.utils import clip_grad

from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods
from telemetry.capture.steps.provenance import L2, ClipCall, ClipRecord
from telemetry.capture.tensors.plain import whole_scalar

logger = logging.getLogger(__name__)

# Calls kept between two optimizer steps; a loop that clips each layer by itself makes many.
N_CALLS = 4096
GROUPING = "_group_tensors_by_device_and_dtype"

_Parameters: TypeAlias = Tensor | Iterable[Tensor]


class _Pending:
    """A call of which coming steps must be told.

    Args:
        call: As it was seen; the parameters of a value clipping are not known yet.
        touched: Identities of the parameters, of the gradients for a value clipping.

    Attributes:
        is_taken: Whether a step was told.
        is_old: Whether it was made before the last step ended.
    """

    __slots__ = ("_untold", "call", "is_old", "is_taken")

    def __init__(self, call: ClipCall, touched: frozenset[int]) -> None:
        self.call = call
        self.is_taken = False
        self.is_old = False
        self._untold = touched

    @property
    def is_told(self) -> bool:
        """Whether everybody was told whose gradients it clipped."""
        return not self._untold

    def touched(self, parameters: Sequence[Tensor], identities: frozenset[int]) -> frozenset[int]:
        """Identities of those of the parameters that it clipped and that were not told of it."""
        if not self.call.by_value:
            return identities & self._untold
        return frozenset(id(p) for p in parameters if id(p.grad) in self._untold)

    def take(self, parameters: Sequence[Tensor], identities: frozenset[int]) -> ClipCall | None:
        """The call, if it touched one of the parameters; they are told."""
        touched = self.touched(parameters, identities)
        if not touched:
            return None
        self.is_taken = True
        if not self.call.by_value:
            self._untold -= touched
            return self.call
        self._untold -= frozenset(id(p.grad) for p in parameters)
        return replace(self.call, parameters=touched)


class ClipObserver:
    """Sees the calls of torch's clipping functions while it is installed.

    Any number may be installed at once. Arguments, results, warnings and errors of the functions
    stay as they are.

    Args:
        on_call: Told that something was clipped.
        on_compiled: Told that a clipping was compiled into a function, whose calls nobody sees.
    """

    def __init__(
        self,
        on_call: Callable[[], None] | None = None,
        on_compiled: Callable[[], None] | None = None,
    ) -> None:
        self._calls: deque[_Pending] = deque(maxlen=N_CALLS)
        self._on_call = on_call
        self._on_compiled = on_compiled

    def install(self) -> None:
        """Begin to observe; harmless when called again."""
        if self not in _functions.observers:
            _functions.observe(self)

    def close(self) -> None:
        """Stop observing; the last one puts the originals back."""
        _functions.forget(self)
        self._calls.clear()

    def take(self, parameters: Iterable[Tensor]) -> ClipRecord | None:
        """The clippings since the last take that touched these parameters.

        Args:
            parameters: Of one optimizer that is about to step; a call may have clipped those of
                several, each of which is told.
        """
        if not self._calls:
            return None
        held = list(parameters)
        identities = frozenset(map(id, held))
        found = [pending.take(held, identities) for pending in self._calls]
        calls = [call for call in found if call is not None]
        if calls and any(pending.is_told for pending in self._calls):
            kept = [pending for pending in self._calls if not pending.is_told]
            self._calls.clear()
            self._calls.extend(kept)
        if not calls:
            return None
        clipped = frozenset[int]().union(*(c.parameters for c in calls if not c.by_value))
        covers = identities <= clipped or all(p.grad is None or id(p) in clipped for p in held)
        return ClipRecord(calls=tuple(calls), covers_all=covers)

    def note_unscaling(self, parameters: Iterable[Tensor], scale: Tensor) -> None:
        """A loss scale is about to be divided out: the clippings until now saw it.

        Args:
            parameters: Whose gradients it is in.
            scale: Copied, since the scaler changes it in place.
        """
        if not self._calls:
            return
        held = list(parameters)
        identities = frozenset(map(id, held))
        for pending in self._calls:
            call = pending.call
            if call.loss_scale is None and pending.touched(held, identities):
                pending.call = replace(call, loss_scale=scale.detach().clone())

    def forget_taken(self) -> bool:
        """A step is over: forget the calls it was told of, and those that no step asked for.

        Returns:
            Whether a call is left.
        """
        kept = [pending for pending in self._calls if not (pending.is_taken or pending.is_old)]
        for pending in kept:
            # Without step() calls, the clipping of a step may come before the last one has ended.
            pending.is_old = True
        self._calls.clear()
        self._calls.extend(kept)
        return bool(kept)

    def note(self, call: ClipCall, touched: frozenset[int]) -> None:
        """Keep a call until a step is told of it.

        Args:
            call: Its parameters are not known where elements were clipped one by one.
            touched: Identities of the parameters, else of their gradients.
        """
        self._calls.append(_Pending(call, touched))
        if self._on_call is not None:
            self._on_call()

    def note_compiled(self) -> None:
        """A clipping is being compiled into a function."""
        if self._on_compiled is not None:
            self._on_compiled()


# --- the replaced functions -----------------------------------------------------------------------


class _TotalNorm(Protocol):
    def __call__(
        self, tensors: _Parameters, norm_type: float = ..., *rest: object, **options: object
    ) -> Tensor: ...


class _ClipWithNorm(Protocol):
    def __call__(
        self,
        parameters: _Parameters,
        max_norm: float,
        total_norm: Tensor,
        *rest: object,
        **options: object,
    ) -> None: ...


class _Grouping(Protocol):
    def __call__(
        self, tensorlists: Sequence[Sequence[Tensor | None]], *rest: object, **options: object
    ) -> object: ...


class _Running(threading.local):
    """What a thread is doing.

    Attributes:
        norm_type: Of its last total norm: the scaling that follows is not told its order.
        depth: Of the functions of norm clipping that it runs.
    """

    norm_type: float = L2
    depth: int = 0


_running = _Running()


def _find() -> Iterator[tuple[types.ModuleType, str, MakeMethod]]:
    yield clip_grad, "_get_total_norm", _observed_total
    yield utils, "get_total_norm", _observed_total
    yield clip_grad, "_clip_grads_with_norm_", _observed_scaling
    yield utils, "clip_grads_with_norm_", _observed_scaling
    yield clip_grad, GROUPING, _observed_grouping


_functions: ReplacedMethods[ClipObserver] = ReplacedMethods(_find)


def _observed_total(function: types.FunctionType) -> object:
    original = cast("_TotalNorm", function)

    @functools.wraps(function)
    def get_total_norm(
        tensors: _Parameters, norm_type: float = L2, *rest: object, **options: object
    ) -> Tensor:
        if torch.compiler.is_compiling():
            return original(tensors, norm_type, *rest, **options)
        _running.depth += 1
        try:
            total_norm = original(tensors, norm_type, *rest, **options)
        finally:
            _running.depth -= 1
        _running.norm_type = float(norm_type)
        return total_norm

    return get_total_norm


def _observed_scaling(function: types.FunctionType) -> object:
    original = cast("_ClipWithNorm", function)

    @functools.wraps(function)
    def clip_grads_with_norm_(
        parameters: _Parameters,
        max_norm: float,
        total_norm: Tensor,
        *rest: object,
        **options: object,
    ) -> None:
        if torch.compiler.is_compiling():
            _tell_compiler()
            return original(parameters, max_norm, total_norm, *rest, **options)
        identities: frozenset[int] = frozenset()
        with contained(_log_failure):
            parameters, identities = _read_once(parameters)
        _running.depth += 1
        try:
            original(parameters, max_norm, total_norm, *rest, **options)
        finally:
            _running.depth -= 1
        with contained(_log_failure):
            call = ClipCall(
                parameters=identities,
                by_value=False,
                total_norm=whole_scalar(total_norm),
                max_norm=float(max_norm),
                norm_type=_running.norm_type,
            )
            _tell(call, identities)
        return None

    return clip_grads_with_norm_


def _observed_grouping(function: types.FunctionType) -> object:
    original = cast("_Grouping", function)

    @functools.wraps(function)
    def group_tensors_by_device_and_dtype(
        tensorlists: Sequence[Sequence[Tensor | None]], *rest: object, **options: object
    ) -> object:
        if torch.compiler.is_compiling():
            _tell_compiler()
        elif not _running.depth:
            # Nobody but value clipping comes here, and says which gradients it is about to clip.
            with contained(_log_failure):
                gradients = frozenset(map(id, tensorlists[0]))
                _tell(ClipCall(parameters=frozenset(), by_value=True), gradients)
        return original(tensorlists, *rest, **options)

    return group_tensors_by_device_and_dtype


def _tell_compiler() -> None:
    """Have the compiler tell the observers, now and not in what it compiles."""
    from torch._dynamo.comptime import comptime  # noqa: PLC0415 - loaded where it is compiling

    comptime(_is_compiled)


def _is_compiled(context: object) -> None:
    del context
    for observer in _functions.observers:
        observer.note_compiled()


def _tell(call: ClipCall, touched: frozenset[int]) -> None:
    for observer in _functions.observers:
        observer.note(call, touched)


def _log_failure(error: Exception) -> None:
    logger.warning("telemetry: a gradient clipping was not recorded: %s", error)


def _read_once(parameters: _Parameters) -> tuple[_Parameters, frozenset[int]]:
    """The argument, readable as often as before, and the identities of what it holds."""
    if isinstance(parameters, Tensor):
        return parameters, frozenset((id(parameters),))
    if isinstance(parameters, Collection):
        return parameters, frozenset(map(id, parameters))
    found = tuple(parameters)
    identities = frozenset(map(id, found))
    if isinstance(parameters, types.GeneratorType):
        return (parameter for parameter in found), identities  # torch warns of empty generators
    return found, identities
