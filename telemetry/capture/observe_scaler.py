"""Sees what `torch.amp.GradScaler` does to the gradients and steps of an optimizer.

Its methods are replaced on the class while somebody observes, so scalers that were made before are
seen too, and those of subclasses; they are put back with the last observer.
"""

import functools
import threading
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer


class ScalerObserver(Protocol):
    """Who is told; `scale` is the scaler's own tensor, which it changes in place."""

    def unscaling(self, optimizer: Optimizer, scale: Tensor) -> None:
        """The gradients of an optimizer are about to be divided by the scale."""
        ...

    def stepping(self, optimizer: Optimizer, scale: Tensor) -> None:
        """The scaler is about to let an optimizer step, or not."""
        ...

    def stepped(self, optimizer: Optimizer) -> None:
        """It has done so, or not."""
        ...


class _Unscale(Protocol):
    def __call__(self, scaler: GradScaler, optimizer: Optimizer) -> None: ...


class _Step(Protocol):
    def __call__(
        self, scaler: GradScaler, optimizer: Optimizer, *args: object, **kwargs: object
    ) -> float | None: ...


_Method: TypeAlias = _Unscale | _Step

_lock = threading.Lock()
_observers: list[ScalerObserver] = []
_originals: dict[str, _Method] = {}


def observe(observer: ScalerObserver) -> None:
    """Tell `observer` of every scaler that is enabled."""
    with _lock:
        _observers.append(observer)
        if not _originals:
            unscale, step = GradScaler.unscale_, GradScaler.step
            _originals.update(unscale_=cast("_Unscale", unscale), step=cast("_Step", step))
            GradScaler.unscale_ = _observed_unscale(cast("_Unscale", unscale))  # type: ignore[method-assign, assignment]
            GradScaler.step = _observed_step(cast("_Step", step))  # type: ignore[method-assign, assignment]


def forget(observer: ScalerObserver) -> None:
    """Stop telling `observer`; the last one out puts torch's methods back."""
    with _lock:
        if observer in _observers:
            _observers.remove(observer)
        if _observers:
            return
        for name, original in _originals.items():
            # Where somebody replaced the method after us, it is theirs.
            if getattr(getattr(GradScaler, name), "__wrapped__", None) is original:
                setattr(GradScaler, name, original)
        _originals.clear()


def _scale_of(scaler: GradScaler) -> Tensor | None:
    """The scale on its device; None for a scaler that is disabled or has scaled nothing yet."""
    scale = getattr(scaler, "_scale", None)
    return scale if isinstance(scale, Tensor) and scaler.is_enabled() else None


def _observed_unscale(original: _Unscale) -> _Unscale:
    @functools.wraps(original)
    def unscale_(scaler: GradScaler, optimizer: Optimizer) -> None:
        scale = _scale_of(scaler)
        if scale is not None and not torch.compiler.is_compiling():
            for observer in tuple(_observers):
                observer.unscaling(optimizer, scale)
        original(scaler, optimizer)

    return unscale_


def _observed_step(original: _Step) -> _Step:
    @functools.wraps(original)
    def step(
        scaler: GradScaler, optimizer: Optimizer, *args: object, **kwargs: object
    ) -> float | None:
        scale = _scale_of(scaler)
        if scale is None or torch.compiler.is_compiling():
            return original(scaler, optimizer, *args, **kwargs)
        observers = tuple(_observers)
        for observer in observers:
            observer.stepping(optimizer, scale)
        result = original(scaler, optimizer, *args, **kwargs)
        for observer in observers:
            observer.stepped(optimizer)
        return result

    return step
