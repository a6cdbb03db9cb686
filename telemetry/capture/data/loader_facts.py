"""What a data loader says of itself: sizes that decide how long an epoch is."""

import logging
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Self

from torch.utils.data import IterableDataset

from telemetry.capture.data.dataset_fingerprint import dataset_fingerprint
from telemetry.capture.isolation.contained import contained
from telemetry.json_values import Json

logger = logging.getLogger(__name__)


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
