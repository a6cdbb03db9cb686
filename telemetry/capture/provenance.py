"""In which state the optimizer sees a gradient: unscaled, clipped, or with the loss scale in it.

Clipping by norm is observed where all its forms meet: `clip_grad_norm_`, however a script imported
it, looks up `_get_total_norm` and `_clip_grads_with_norm_` in `torch.nn.utils.clip_grad` on each
call. They are replaced by functions that call the originals and note what they did, as are the
public names of the second; the originals are put back when the last observer closes. Value
clipping has no such inside: a `clip_grad_value_` that a script imported by name before is not seen.
"""

import functools
import threading
import types
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import utils
from torch.nn.utils import clip_grad
from torch.optim import Optimizer

from telemetry.capture.plain_tensors import local_part

# torch's own clip coefficient is max_norm / (total_norm + 1e-6), at most 1.
CLIP_EPSILON = 1e-6
L2 = 2.0
# Calls kept between two optimizer steps; a loop that clips each layer by itself makes many.
N_CALLS = 4096

_Parameters: TypeAlias = Tensor | Iterable[Tensor]


class Provenance(StrEnum):
    """State of a gradient as the optimizer saw it."""

    UNSCALED = "unscaled"
    CLIPPED = "clipped"
    RAW = "raw"


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the coefficient is cached
class ClipCall:
    """One call of a clipping function.

    Attributes:
        parameters: Identities of the clipped parameters.
        by_value: Whether elements were clipped one by one, which cannot be undone.
        total_norm: What `clip_grad_norm_` returned, on its device; None after value clipping, and
            where the norm is spread over ranks.
        max_norm: Its limit; None after value clipping.
        norm_type: Order of the norm; 2 unless the loop asked for another.
    """

    parameters: frozenset[int]
    by_value: bool
    total_norm: Tensor | None = None
    max_norm: float | None = None
    norm_type: float = 2.0

    @functools.cached_property
    def coefficient(self) -> Tensor | None:
        """Factor that every gradient was multiplied by, 0-d; None where it is not known."""
        if self.total_norm is None or self.max_norm is None:
            return None
        return torch.clamp(self.max_norm / (self.total_norm + CLIP_EPSILON), max=1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipRecord:
    """The clippings of one optimizer's gradients before one step, at least one.

    Attributes:
        calls: In the order they were made.
    """

    calls: tuple[ClipCall, ...]

    @property
    def by_value(self) -> bool:
        """Whether elements were clipped one by one, which cannot be undone."""
        return any(call.by_value for call in self.calls)

    @property
    def max_norm(self) -> float | None:
        """Limit of the last clipping by norm."""
        limits = [call.max_norm for call in self.calls if call.max_norm is not None]
        return limits[-1] if limits else None

    @property
    def total_norm(self) -> Tensor | None:
        """L2 norm before clipping, 0-d, over all calls that clipped different parameters.

        None after value clipping alone, for norms of another order, and where calls overlap.
        """
        calls = [call for call in self.calls if not call.by_value]
        norms = [call.total_norm for call in calls if call.total_norm is not None]
        if not norms or len(norms) < len(calls) or any(call.norm_type != L2 for call in calls):
            return None
        if len(norms) == 1:
            return norms[0]
        every = frozenset[int]().union(*(call.parameters for call in calls))
        if len(every) < sum(len(call.parameters) for call in calls):
            return None
        return torch.stack([norm.to(norms[0].device) for norm in norms]).square().sum().sqrt()

    @property
    def coefficient(self) -> Tensor | None:
        """Strongest clipping by norm, in (0, 1], 0-d; None after value clipping alone."""
        found = [c for call in self.calls if (c := call.coefficient) is not None]
        if len(found) <= 1:
            return found[0] if found else None
        return torch.stack([c.to(found[0].device) for c in found]).min()


class ClipObserver:
    """Sees the calls of torch's clipping functions while it is installed.

    Any number may be installed at once. Arguments, results, warnings and errors of the functions
    stay as they are.
    """

    def __init__(self) -> None:
        self._calls: deque[ClipCall] = deque(maxlen=N_CALLS)

    def install(self) -> None:
        """Begin to observe; harmless when called again."""
        if self in _observers:
            return
        _observers.append(self)
        if len(_observers) == 1:
            _patch()

    def close(self) -> None:
        """Stop observing; the last one puts the originals back."""
        if self in _observers:
            _observers.remove(self)
            if not _observers:
                _restore()
        self._calls.clear()

    @property
    def has_calls(self) -> bool:
        """Whether anything was clipped that was not taken."""
        return bool(self._calls)

    def take(self, parameters: Iterable[Tensor]) -> ClipRecord | None:
        """The clippings since the last take that touched these parameters.

        Call it before every optimizer step: what is not taken would be told of a later one.
        """
        if not self._calls:
            return None
        wanted = set(map(id, parameters))
        taken = [call for call in self._calls if not wanted.isdisjoint(call.parameters)]
        if not taken:
            return None
        rest = [call for call in self._calls if wanted.isdisjoint(call.parameters)]
        self._calls.clear()
        self._calls.extend(rest)
        return ClipRecord(calls=tuple(taken))

    def note(self, call: ClipCall) -> None:
        """Keep a call until it is taken."""
        self._calls.append(call)


def loss_scale(optimizer: Optimizer) -> Tensor | None:
    """A copy of the loss scale that a fused optimizer still finds in its gradients, or None.

    Source: `torch.amp.GradScaler.step` leaves it there for optimizers that unscale by themselves.
    """
    scale = getattr(optimizer, "grad_scale", None)
    # The scaler changes its scale in place after the step.
    return scale.detach().clone() if isinstance(scale, Tensor) else None


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


class _ClipValue(Protocol):
    def __call__(
        self, parameters: _Parameters, clip_value: float, *rest: object, **options: object
    ) -> None: ...


# Of the last total norm that a thread asked for: the scaling that follows is not told its order.
_last_total = threading.local()
_observers: list[ClipObserver] = []
_originals: list[tuple[types.ModuleType, str, object]] = []


def _patch() -> None:
    scaling = _observed_scaling(cast("_ClipWithNorm", clip_grad._clip_grads_with_norm_))
    total = _observed_total(cast("_TotalNorm", clip_grad._get_total_norm))  # noqa: SLF001
    value = _observed_value(cast("_ClipValue", clip_grad.clip_grad_value_))
    for module, name, replacement in (
        (clip_grad, "_get_total_norm", total),
        (utils, "get_total_norm", total),
        (clip_grad, "_clip_grads_with_norm_", scaling),
        (utils, "clip_grads_with_norm_", scaling),
        (clip_grad, "clip_grad_value_", value),
        (utils, "clip_grad_value_", value),
    ):
        _originals.append((module, name, getattr(module, name)))
        setattr(module, name, replacement)


def _restore() -> None:
    for module, name, original in _originals:
        # Where somebody replaced the name after us, it is theirs.
        if getattr(getattr(module, name), "__wrapped__", None) is original:
            setattr(module, name, original)
    _originals.clear()


def _observed_total(original: _TotalNorm) -> _TotalNorm:
    @functools.wraps(original)
    def get_total_norm(
        tensors: _Parameters, norm_type: float = L2, *rest: object, **options: object
    ) -> Tensor:
        total_norm = original(tensors, norm_type, *rest, **options)
        if not torch.compiler.is_compiling():
            _last_total.norm_type = float(norm_type)
        return total_norm

    return get_total_norm


def _observed_scaling(original: _ClipWithNorm) -> _ClipWithNorm:
    @functools.wraps(original)
    def clip_grads_with_norm_(
        parameters: _Parameters,
        max_norm: float,
        total_norm: Tensor,
        *rest: object,
        **options: object,
    ) -> None:
        if torch.compiler.is_compiling():
            return original(parameters, max_norm, total_norm, *rest, **options)
        again, identities = _read_once(parameters)
        original(again, max_norm, total_norm, *rest, **options)
        is_whole = local_part(total_norm) is total_norm
        _tell(
            ClipCall(
                parameters=identities,
                by_value=False,
                total_norm=total_norm if is_whole else None,
                max_norm=float(max_norm),
                norm_type=getattr(_last_total, "norm_type", L2),
            )
        )
        return None

    return clip_grads_with_norm_


def _observed_value(original: _ClipValue) -> _ClipValue:
    @functools.wraps(original)
    def clip_grad_value_(
        parameters: _Parameters, clip_value: float, *rest: object, **options: object
    ) -> None:
        if torch.compiler.is_compiling():
            return original(parameters, clip_value, *rest, **options)
        again, identities = _read_once(parameters)
        original(again, clip_value, *rest, **options)
        _tell(ClipCall(parameters=identities, by_value=True))
        return None

    return clip_grad_value_


def _tell(call: ClipCall) -> None:
    for observer in _observers:
        observer.note(call)


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
