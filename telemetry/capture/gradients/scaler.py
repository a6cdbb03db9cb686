"""Sees what `torch.amp.GradScaler` does to the gradients and steps of an optimizer.

Its methods are replaced on the class while somebody observes, so scalers that were made before are
seen too, and those of subclasses; they are put back with the last observer.
"""

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Protocol

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods


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


def observe(observer: ScalerObserver) -> None:
    """Tell `observer` of every scaler that is enabled."""
    _methods.observe(observer)


def forget(observer: ScalerObserver) -> None:
    """Stop telling `observer`; the last one out puts torch's methods back."""
    _methods.forget(observer)


def _find() -> Iterator[tuple[type, str, MakeMethod]]:
    yield GradScaler, "unscale_", _observed_unscale
    yield GradScaler, "step", _observed_step


_methods: ReplacedMethods[ScalerObserver] = ReplacedMethods(_find)


def _scale_of(scaler: GradScaler) -> Tensor | None:
    """The scale on its device; None for a scaler that is disabled or has scaled nothing yet."""
    scale = getattr(scaler, "_scale", None)
    return scale if isinstance(scale, Tensor) and scaler.is_enabled() else None


def _observed_unscale(original: FunctionType) -> object:
    @functools.wraps(original)
    def unscale_(scaler: GradScaler, optimizer: Optimizer) -> None:
        scale = _scale_of(scaler)
        if scale is not None and not torch.compiler.is_compiling():
            for observer in _methods.observers:
                observer.unscaling(optimizer, scale)
        original(scaler, optimizer)

    return unscale_


def _observed_step(original: FunctionType) -> object:
    @functools.wraps(original)
    def step(
        scaler: GradScaler, optimizer: Optimizer, *args: object, **kwargs: object
    ) -> float | None:
        scale = _scale_of(scaler)
        if scale is None or torch.compiler.is_compiling():
            unseen: float | None = original(scaler, optimizer, *args, **kwargs)
            return unseen
        observers = _methods.observers
        for observer in observers:
            observer.stepping(optimizer, scale)
        result: float | None = original(scaler, optimizer, *args, **kwargs)
        for observer in observers:
            observer.stepped(optimizer)
        return result

    return step
