"""Data sets of the user: what an item is, who it is, and what may be said of its values.

A data set is anything with `__len__` and `__getitem__(i)` that gives (input, label) or (input,
label, metadata). It may say more by optional attributes: `classes`, `modality`, `value_range`,
`example_id(i)`, `pad_id`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.answers import input_digest
from telemetry.errors import UsageError
from telemetry.json_values import Json

RANGE_EXAMPLES = 256  # from which the range of the values is taken where the data set states none
IMAGE_CHANNELS = (1, 3, 4)
IMAGE_DIMENSIONS = 3
METADATA_KINDS = (str, bool, int, float, type(None))


class Modality(StrEnum):
    """What the inputs are."""

    IMAGE = "image"
    TABULAR = "tabular"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One example.

    Attributes:
        index: Place in the data set.
        id: Identity: that of the data set, else made of the input, so that it survives another
            order.
        digest: Of the input's shape, type and bytes.
        input: As the model takes it, without the batch dimension.
        label: A class, a class name or a number.
        metadata: What the data set says of it.
    """

    index: int
    id: str
    digest: str
    input: Tensor
    label: int | float | str
    metadata: Mapping[str, Json]


class Source(Protocol):
    """What the user gives: items that can be counted and read."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> object:
        """(input, label) or (input, label, metadata)."""
        ...


class ExampleSet:
    """A data set of the user, read item by item and checked.

    Args:
        source: What the user's entry point is or returned.
        name: What it is called in tables and messages.

    Raises:
        UsageError: it has no items that can be counted and read, or none at all.
    """

    def __init__(self, source: object, name: str) -> None:
        if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
            raise UsageError(
                f"data set {name} is a {type(source).__name__}, expected __len__ and "
                "__getitem__(i) -> (input, label) or (input, label, metadata)."
            )
        self.source = cast("Source", source)
        self.name = name
        if len(self) == 0:
            raise UsageError(f"data set {name} is empty.")

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where the data set states none."""
        stated = getattr(self.source, "classes", None) or ()
        if isinstance(stated, str) or not isinstance(stated, Sequence):
            raise UsageError(f"data set {self.name}: classes is no list of names.")
        return tuple(map(str, stated))

    @cached_property
    def pad_id(self) -> int | None:
        """What shorter texts of a batch are filled up with; None: only equal lengths are joined."""
        value = getattr(self.source, "pad_id", None)
        return None if value is None else int(value)

    @cached_property
    def mask_id(self) -> int | None:
        """What stands for a token that is hidden; None where the data set names none."""
        value = getattr(self.source, "mask_id", None)
        return None if value is None else int(value)

    @cached_property
    def normalisation(self) -> tuple[Tensor | None, Tensor | None]:
        """Mean and deviation by which items were normalised, one a channel; None: they were not."""
        mean, deviation = (getattr(self.source, name, None) for name in ("mean", "std"))
        if mean is None or deviation is None or callable(mean):
            return None, None
        dims = (-1,) + (1,) * (self.example(0).input.dim() - 1)
        return (
            torch.as_tensor(mean, dtype=torch.float32).reshape(dims),
            torch.as_tensor(deviation, dtype=torch.float32).reshape(dims),
        )

    def element_names(self, values: Tensor) -> list[str]:
        """Names of the elements of a row: columns of a table, or the tokens of a text."""
        columns = getattr(self.source, "feature_names", None)
        if columns is not None and len(columns) == values.numel():
            return [str(name) for name in columns]
        if callable(getattr(self.source, "tokens", None)):
            return [f"{place}:{token}" for place, token in enumerate(self.tokens(values))]
        return [str(place) for place in range(values.numel())]

    def tokens(self, values: Tensor) -> list[str]:
        """The tokens of a text in words, as the data set says them, else their numbers."""
        reader = getattr(self.source, "tokens", None)
        found = [str(token) for token in reader(values)] if callable(reader) else []
        return found if len(found) == values.numel() else [str(t) for t in values.tolist()]

    @cached_property
    def modality(self) -> Modality:
        """What the inputs are: as stated, else integers are text, C x H x W images, rows tables."""
        stated = getattr(self.source, "modality", None)
        if stated is not None:
            if stated not in list(Modality):
                known = ", ".join(Modality)
                raise UsageError(f"data set {self.name}: modality {stated!r} is none of {known}.")
            return Modality(stated)
        first = self.example(0).input
        if not first.is_floating_point():
            return Modality.TEXT
        is_image = first.dim() == IMAGE_DIMENSIONS and first.shape[0] in IMAGE_CHANNELS
        return Modality.IMAGE if is_image else Modality.TABULAR

    @cached_property
    def stated_range(self) -> tuple[float, float] | None:
        """Range of the values as the data set states it."""
        stated = getattr(self.source, "value_range", None)
        if stated is None:
            return None
        low, high = (float(value) for value in stated)
        if not low < high:
            raise UsageError(f"data set {self.name}: value_range {low:g}, {high:g} is empty.")
        return low, high

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Range of the values: as stated, else that of up to 256 examples spread over the set."""
        if self.stated_range is not None:
            return self.stated_range
        picks = np.unique(np.linspace(0, len(self) - 1, min(len(self), RANGE_EXAMPLES)).astype(int))
        inputs = [self.example(int(index)).input for index in picks]
        return min(float(x.min()) for x in inputs), max(float(x.max()) for x in inputs)

    def example(self, index: int) -> Example:
        """One example.

        Raises:
            UsageError: it is no (input, label[, metadata]), its label is no class or number, or its
                input holds values that are not finite or lie outside the stated range.
        """
        return self.checked(self._item(index), index)

    def checked(self, item: Sequence[object], index: int) -> Example:
        """The example that an (input, label[, metadata]) of this data set means.

        Raises:
            UsageError: as for `example`.
        """
        values = self._input(item[0], index)
        digest = input_digest(values)
        return Example(
            index=index,
            id=self._stated_id(index) or digest,
            digest=digest,
            input=values,
            label=self._label(item[1], index),
            metadata=self._metadata(item[2] if len(item) > 2 else {}, index),  # noqa: PLR2004
        )

    def examples(self, limit: int | None = None) -> Iterator[Example]:
        """All examples, or the first ones; equal inputs without ids of their own are numbered.

        Raises:
            UsageError: see `example`; or the data set gives one id to several examples.
        """
        seen: dict[str, int] = {}
        for index in range(len(self) if limit is None else min(limit, len(self))):
            found = self.example(index)
            n_before = seen.get(found.id, 0)
            seen[found.id] = n_before + 1
            if n_before and self._stated_id(index) is not None:
                raise UsageError(
                    f"data set {self.name}: example_id({index}) is {found.id!r}, the id of an "
                    "earlier example; give each its own."
                )
            yield _renamed(found, f"{found.id}-{n_before + 1}") if n_before else found

    def find(self, example_id: str) -> Example:
        """The example with an id, or, where none has it, at that place.

        Raises:
            UsageError: there is none.
        """
        for found in self.examples():
            if found.id == example_id:
                return found
        if example_id.isdigit() and int(example_id) < len(self):
            return self.example(int(example_id))
        raise UsageError(
            f"data set {self.name} has no example {example_id!r}; `telemetry evaluate` lists ids, "
            f"and 0 to {len(self) - 1} are places."
        )

    def _item(self, index: int) -> Sequence[object]:
        try:
            item = self.source[index]
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"data set {self.name}: item {index} cannot be read ({type(error).__name__}: "
                f"{error})."
            ) from error
        if not isinstance(item, tuple | list) or len(item) not in {2, 3}:
            raise UsageError(
                f"data set {self.name}: item {index} is a {type(item).__name__}, expected (input, "
                "label) or (input, label, metadata)."
            )
        return item

    def _input(self, value: object, index: int) -> Tensor:
        try:
            values = torch.as_tensor(value).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"data set {self.name}: the input of item {index} is a {type(value).__name__}, "
                "expected numbers as a tensor or array."
            ) from error
        if values.is_floating_point():
            self._check_values(values, index)
        return values

    def _check_values(self, values: Tensor, index: int) -> None:
        n_bad = int((~torch.isfinite(values)).sum())
        if n_bad:
            raise UsageError(
                f"data set {self.name}: {n_bad} values of item {index} are not finite; clean them."
            )
        if self.stated_range is not None and values.numel():
            low, high = self.stated_range
            least, most = float(values.min()), float(values.max())
            if least < low or most > high:
                raise UsageError(
                    f"data set {self.name}: item {index} has values from {least:g} to {most:g}, "
                    f"outside value_range {low:g} to {high:g}."
                )

    def _label(self, value: object, index: int) -> int | float | str:
        value = _unwrapped(value)
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, str | int):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise UsageError(
            f"data set {self.name}: the label of item {index} is a {type(value).__name__}, "
            "expected a class, its name, or a finite number."
        )

    def _metadata(self, value: object, index: int) -> Mapping[str, Json]:
        if not isinstance(value, Mapping):
            raise UsageError(
                f"data set {self.name}: the metadata of item {index} is a {type(value).__name__}, "
                "expected a dictionary."
            )
        return {str(key): _plain(entry) for key, entry in value.items()}

    def _stated_id(self, index: int) -> str | None:
        namer = getattr(self.source, "example_id", None)
        return str(namer(index)) if callable(namer) else None


def _unwrapped(value: object) -> object:
    """The number inside a tensor or array of one element; anything else as it is."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value
    if isinstance(value, np.generic | np.ndarray):
        return value.item() if value.size == 1 else value
    return value


def _plain(value: object) -> Json:
    value = _unwrapped(value)
    return value if isinstance(value, METADATA_KINDS) else str(value)


def _renamed(example: Example, name: str) -> Example:
    return Example(
        index=example.index,
        id=name,
        digest=example.digest,
        input=example.input,
        label=example.label,
        metadata=example.metadata,
    )
