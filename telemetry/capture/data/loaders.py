"""Sees how long a loop waits for the batches of its data loaders.

`DataLoader.__iter__` and the `__next__` of its iterators are replaced on their classes, and on
subclasses that have their own, while somebody observes. Batches and exceptions pass through
untouched; two readings of a clock are all that is added. A loader that is read while another one
fetches on the same thread, as by a data set made from loaders, is part of that one.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Protocol

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods, owners_of


class LoaderObserver(Protocol):
    """Who is told, on the thread that reads the loader."""

    def begun(self, loader: "DataLoader[object]", iterator: object, seconds: float) -> None:
        """A pass over a loader has begun; starting its workers took so long."""
        ...

    def fetched(self, iterator: object, seconds: float) -> None:
        """A batch has come after so long."""
        ...

    def ended(self, iterator: object, seconds: float) -> None:
        """There is none left, which took so long to find out."""
        ...


def observe(observer: LoaderObserver) -> None:
    """Tell `observer` of every loader that is read."""
    _methods.observe(observer)


def forget(observer: LoaderObserver) -> None:
    """Stop telling `observer`; the last one out puts torch's methods back."""
    _methods.forget(observer)


def _find() -> Iterator[tuple[type, str, MakeMethod]]:
    for owner in owners_of(DataLoader, "__iter__"):
        yield owner, "__iter__", _observed_iter
    for owner in owners_of(_BaseDataLoaderIter, "__next__"):
        yield owner, "__next__", _observed_next


_methods: ReplacedMethods[LoaderObserver] = ReplacedMethods(_find)
_fetching: set[int] = set()  # threads that are inside a loader
_clock: Callable[[], float] = time.perf_counter


def _observed_iter(original: FunctionType) -> object:
    @functools.wraps(original)
    def iterate(loader: "DataLoader[object]") -> object:
        if torch.compiler.is_compiling():
            return original(loader)
        thread = threading.get_ident()
        if thread in _fetching:
            return original(loader)
        _fetching.add(thread)
        started_s = _clock()
        try:
            iterator = original(loader)
        finally:
            _fetching.discard(thread)
        seconds = _clock() - started_s
        if not isinstance(iterator, _BaseDataLoaderIter):
            return iterator  # a generator of a subclass, which asks torch for an iterator later
        for observer in _methods.observers:
            observer.begun(loader, iterator, seconds)
        return iterator

    return iterate


def _observed_next(original: FunctionType) -> object:
    clock, thread_of = _clock, threading.get_ident  # looked up once

    @functools.wraps(original)
    def fetch(iterator: object) -> object:
        if torch.compiler.is_compiling():
            return original(iterator)
        thread = thread_of()
        if thread in _fetching:
            return original(iterator)
        _fetching.add(thread)
        started_s = clock()
        try:
            batch = original(iterator)
        except StopIteration:
            seconds = clock() - started_s
            for observer in _methods.observers:
                observer.ended(iterator, seconds)
            raise
        finally:
            _fetching.discard(thread)
        seconds = clock() - started_s
        for observer in _methods.observers:
            observer.fetched(iterator, seconds)
        return batch

    return fetch
