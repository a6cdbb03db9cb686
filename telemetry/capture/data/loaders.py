"""Sees how long a loop waits for the batches of its data loaders, and what a loader says of itself.

`DataLoader.__iter__` and the `__next__` of its iterators are replaced on their classes, and on
subclasses that have their own, while somebody observes. Batches and exceptions pass through
untouched; two readings of a clock are all that is added. A loader that is read while another one
fetches on the same thread, as by a data set made from loaders, is part of that one.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Protocol, Self

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from telemetry.capture.data.dataset_fingerprint import dataset_fingerprint
from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods, owners_of
from telemetry.json_values import Json

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderFacts:
    """Sizes of a loader; None for what it does not know.

    Attributes:
        dataset: Class of its data set.
        dataset_size: Samples.
        batches: Of one pass.
        batch_size: Samples of a batch.
        sampler: Class of what chooses the samples.
        drop_last: Whether an incomplete last batch is left out.
        workers: Processes that load.
        fingerprint: Of the contents of its data set.
    """

    dataset: str
    dataset_size: int | None
    batches: int | None
    batch_size: int | None
    sampler: str | None
    drop_last: bool
    workers: int
    fingerprint: str | None = None

    @classmethod
    def of(cls, iterator: object) -> Self:
        """Read them off the iterator of a loader, without consequences for it.

        `len(loader)` is not asked: over an iterable data set torch remembers that it was and warns
        later; and samplers written by users may draw random numbers to answer.
        """
        dataset = getattr(iterator, "_dataset", None)
        chooser = getattr(iterator, "_index_sampler", None)  # of batches, or of samples
        is_iterable = isinstance(dataset, IterableDataset)
        sampler = None if is_iterable else getattr(chooser, "sampler", chooser)
        is_known = not is_iterable and all(
            type(part).__module__.startswith("torch.") for part in (sampler, chooser)
        )
        batch_size = getattr(chooser, "batch_size", None)
        return cls(
            dataset=type(dataset).__name__,
            dataset_size=_length(dataset),
            batches=_length(chooser) if is_known else None,
            batch_size=batch_size if isinstance(batch_size, int) else None,
            sampler=None if sampler is None else type(sampler).__name__,
            drop_last=bool(getattr(iterator, "_drop_last", False)),
            workers=int(getattr(iterator, "_num_workers", 0)),
            fingerprint=_fingerprint(dataset),
        )

    def counted(self, batches: int) -> Self:
        """The same with a number of batches that one pass had."""
        return replace(self, batches=batches)

    def payload(self) -> dict[str, Json]:
        """As the details of an event."""
        return {name: getattr(self, name) for name in self.__slots__}


def _length(values: object) -> int | None:
    if isinstance(values, Sized):
        with contained(_ignore):  # a user's own method
            return len(values)
    return None


def _fingerprint(dataset: object) -> str | None:
    with contained(_log_failed_fingerprint):  # attributes of a user's own class
        return dataset_fingerprint(dataset)
    return None


def _log_failed_fingerprint(error: Exception) -> None:
    logger.warning("telemetry: the data set has no fingerprint: %s", error)


def _ignore(error: Exception) -> None:
    del error
