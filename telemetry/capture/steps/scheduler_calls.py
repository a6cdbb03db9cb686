"""Sees the calls of torch's learning-rate schedulers.

`step` is replaced while somebody observes: that of `LRScheduler`, and that of each of its
subclasses, those of users too, that has one of its own and may never call the inherited one. A call
within a call, as of a chain of schedulers, is part of it, and so is the one that each scheduler
makes when it is built.
"""

import functools
import threading
from collections.abc import Iterator
from types import FunctionType
from typing import Protocol

import torch
from torch.optim.lr_scheduler import LRScheduler

from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods, owners_of


class SchedulerObserver(Protocol):
    """Who is told."""

    def scheduled(self, scheduler: LRScheduler) -> None:
        """A scheduler has set its optimizer's learning rates, or left them."""
        ...


def observe(observer: SchedulerObserver) -> None:
    """Tell `observer` of the calls of every scheduler whose class exists by now."""
    _methods.observe(observer)


def forget(observer: SchedulerObserver) -> None:
    """Stop telling `observer`; the last one out puts the methods back."""
    _methods.forget(observer)


def _find() -> Iterator[tuple[type, str, MakeMethod]]:
    for owner in owners_of(LRScheduler, "step"):
        yield owner, "step", _observed_step
    for owner in owners_of(LRScheduler, "_initial_step"):
        yield owner, "_initial_step", _observed_initial_step


_methods: ReplacedMethods[SchedulerObserver] = ReplacedMethods(_find)
_stepping: set[int] = set()  # threads that are inside a scheduler


def _observed_step(original: FunctionType) -> object:
    thread_of = threading.get_ident  # looked up once

    @functools.wraps(original)
    def step(scheduler: LRScheduler, *args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling():
            return original(scheduler, *args, **kwargs)
        thread = thread_of()
        if thread in _stepping:
            return original(scheduler, *args, **kwargs)
        _stepping.add(thread)
        try:
            result = original(scheduler, *args, **kwargs)
        finally:
            _stepping.discard(thread)
        for observer in _methods.observers:
            observer.scheduled(scheduler)
        return result

    return step


def _observed_initial_step(original: FunctionType) -> object:
    @functools.wraps(original)
    def initial_step(scheduler: LRScheduler) -> object:
        thread = threading.get_ident()
        if thread in _stepping:
            return original(scheduler)
        _stepping.add(thread)
        try:
            return original(scheduler)
        finally:
            _stepping.discard(thread)

    return initial_step
