"""Runs as a list that a notebook shows as a table."""

from typing import SupportsIndex, overload

from telemetry.in_notebooks import ShownInNotebooks
from telemetry.store.runs.run import Run


class Runs(list[Run], ShownInNotebooks):
    """Runs in their order; a slice of them is one as well."""

    @overload
    def __getitem__(self, place: SupportsIndex) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> "Runs": ...  # type: ignore[explicit-any] # of typeshed

    def __getitem__(  # type: ignore[explicit-any] # of typeshed
        self, place: SupportsIndex | slice
    ) -> "Run | Runs":
        if isinstance(place, slice):
            return Runs(super().__getitem__(place))
        return super().__getitem__(place)
