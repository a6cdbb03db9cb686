"""Data sets of the user: what an item is, who it is, and what may be said of its values.

A data set is anything with `__len__` and `__getitem__(i)` that gives (input, label) or (input,
label, metadata); an input is a tensor, or a dictionary or tuple of those. It may say more by
optional attributes: `classes`, `modality`, `value_range`, `example_id(i)`, `feature_names`,
`categorical`, `tokens(x)`, `encode(words)`, `synonyms`, `pad_id`, `mask_id`, `special_ids`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.column_groups import column_groups
from telemetry.explain.inputs.digests import NO_SUCH_INPUT, digests_of, is_digest, is_place
from telemetry.explain.inputs.items import input_of, label_of, metadata_of
from telemetry.explain.inputs.padding import Padding
from telemetry.explain.inputs.several import SeveralInputs
from telemetry.explain.inputs.stated import (
    Source,
    no_item,
    of_channels,
    stated,
    stated_id,
    unreadable,
    unwrapped,
)
from telemetry.json_values import Json

RANGE_EXAMPLES = 256  # from which the range of the values is taken where the data set states none
ROUNDING = 1e-3  # share of the range by which normalisation, in half precision too, may miss it
IMAGE_CHANNELS = (1, 3, 4)
IMAGE_DIMENSIONS = 3


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
        label: A class, a class name or a number; None: not known, of an input of no data set.
        metadata: What the data set says of it.
        file: Name of the file that it lies in; None: the data set.
    """

    index: int
    id: str
    digest: str
    input: Tensor
    label: int | float | str | None
    metadata: Mapping[str, Json]
    file: str | None = None


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
            raise UsageError(f"data set {name} is {unreadable(source)}.")
        self.source = cast("Source", source)
        self.name = name
        if len(self) == 0:
            raise UsageError(f"data set {name} is empty.")

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where the data set states none."""
        names = stated(self.source, "classes")
        if names is None:
            return ()
        if isinstance(names, Mapping):  # name to number
            names = sorted(names, key=names.__getitem__)
        if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
            raise UsageError(f"data set {self.name}: classes is not a list of names.")
        return tuple(map(str, names))

    @cached_property
    def pad_id(self) -> int | None:
        """What fills up shorter texts, and so says nothing; None where the data set names none."""
        return self._token("pad_id")

    @cached_property
    def mask_id(self) -> int | None:
        """What stands for a token that is hidden; None where the data set names none."""
        return self._token("mask_id")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are never hidden, such as the first and the last of every text."""
        tokens = cast("Sequence[int] | None", stated(self.source, "special_ids"))
        return frozenset() if tokens is None else frozenset(int(token) for token in tokens)

    @cached_property
    def several(self) -> SeveralInputs | None:
        """How the tensors of an input are joined to one; None: it is one tensor."""
        return SeveralInputs.of(self._item(0)[0], self.pad_id)

    @cached_property
    def padding(self) -> Padding:
        """What of a text nobody wrote, and how texts are filled up."""
        picks = range(min(len(self), RANGE_EXAMPLES)) if self.modality is Modality.TEXT else ()
        rows = [self.example(place).input for place in picks]
        return Padding.of(rows, self.pad_id, self.special_ids)

    @cached_property
    def categorical(self) -> Mapping[str, tuple[int, ...]]:
        """Columns that are one value in several, such as a one-hot code, by their name.

        The data set states {name: columns}, or a list of such columns, each by name or place.

        Raises:
            UsageError: there is no such column, or it belongs to two groups.
        """
        names = cast("Sequence[object] | None", stated(self.source, "feature_names"))
        return column_groups(
            stated(self.source, "categorical"),
            () if names is None or isinstance(names, Mapping) else list(names),
            f"data set {self.name}: categorical",
        )

    @cached_property
    def normalisation(self) -> tuple[Tensor | None, Tensor | None]:
        """Mean and deviation by which items were normalised, one a channel; None: they were not."""
        mean, deviation = (stated(self.source, name) for name in ("mean", "std"))
        if mean is None or deviation is None or callable(mean):
            return None, None
        first = self._numbers(self._item(0)[0], 0)
        found = of_channels(mean, first), of_channels(deviation, first)
        n_channels = first.shape[0] if first.dim() else 1
        for name, part in zip(("mean", "std"), found, strict=True):
            if part.numel() not in {1, n_channels}:
                raise UsageError(
                    f"data set {self.name}: {name} has {part.numel()} numbers, expected one, or "
                    f"{n_channels} for inputs of shape {tuple(first.shape)}."
                )
        return found

    def column_names(self, part: str) -> list[str]:
        """Names of the columns of one of several inputs; empty: the data set states none."""
        columns = stated(self.source, "feature_names")
        names = columns.get(part, ()) if isinstance(columns, Mapping) else ()
        return [str(name) for name in cast("Sequence[object]", names)]

    def element_names(self, values: Tensor) -> list[str]:
        """Names of the elements of a row: columns of a table, or the tokens of a text."""
        columns = stated(self.source, "feature_names")
        is_row = columns is not None and not isinstance(columns, Mapping)
        names = [str(name) for name in cast("Sequence[object]", columns)] if is_row else []
        if names and len(names) == values.numel():
            return names
        if callable(stated(self.source, "tokens")):
            return [f"{place}:{token}" for place, token in enumerate(self.tokens(values))]
        return [str(place) for place in range(values.numel())]

    def tokens(self, values: Tensor) -> list[str]:
        """The tokens of a text in words, as the data set says them, else their numbers."""
        reader = stated(self.source, "tokens")
        found = [str(token) for token in reader(values)] if callable(reader) else []
        return found if len(found) == values.numel() else [str(t) for t in values.tolist()]

    @cached_property
    def modality(self) -> Modality:
        """What the inputs are: as stated, else rows of integers are text, C x H x W images."""
        said = stated(self.source, "modality")
        if said is not None:
            if said not in list(Modality):
                known = ", ".join(Modality)
                raise UsageError(
                    f"data set {self.name}: modality {said!r} is unknown; use {known}."
                )
            return Modality(str(said))
        first = self.example(0).input
        if not first.is_floating_point() and first.dim() == 1:
            return Modality.TEXT
        is_image = first.dim() == IMAGE_DIMENSIONS and first.shape[0] in IMAGE_CHANNELS
        return Modality.IMAGE if is_image else Modality.TABULAR

    def plain(self, values: Tensor) -> Tensor:
        """Values as they were before normalisation, where the data set says how it normalises."""
        mean, deviation = self.normalisation
        return values if mean is None or deviation is None else values * deviation + mean

    @cached_property
    def stated_range(self) -> tuple[float, float] | None:
        """Range of the values before normalisation, as the data set states it."""
        value = stated(self.source, "value_range")
        if value is None:
            return None
        try:
            low, high = (float(value) for value in cast("Sequence[float]", value))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"data set {self.name}: value_range is {value!r}, expected (lowest, highest)."
            ) from error
        if not low < high:
            raise UsageError(f"data set {self.name}: value_range {low:g}, {high:g} is empty.")
        return low, high

    @cached_property
    def value_range(self) -> tuple[float, float]:
        """Range of the values before normalisation: as stated, else that of up to 256 examples."""
        if self.stated_range is not None:
            return self.stated_range
        picks = np.unique(np.linspace(0, len(self) - 1, min(len(self), RANGE_EXAMPLES)).astype(int))
        inputs = [self.plain(self.example(int(index)).input) for index in picks]
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
        place = f"data set {self.name}"
        third = item[2] if len(item) > 2 else None  # noqa: PLR2004
        metadata = metadata_of(third, f"{place}: the third part of item {index}")
        values = self._input(item[0], index)
        digest = input_digest(values)
        return Example(
            index=index,
            id=stated_id(self.source, index) or digest,
            digest=digest,
            input=values,
            label=label_of(item[1], f"{place}: the label of item {index}"),
            metadata=metadata,
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
            if n_before and stated_id(self.source, index) is not None:
                raise UsageError(
                    f"data set {self.name}: example_id({index}) is {found.id!r}, which an "
                    "earlier example has too; ids must be unique."
                )
            yield replace(found, id=f"{found.id}-{n_before + 1}") if n_before else found

    def find(self, example_id: str) -> Example:
        """The example with an id, or, where none has it, at that place; see `find_all`."""
        (found,) = self.find_all([example_id])
        return found

    def find_all(self, example_ids: Sequence[str]) -> list[Example]:
        """The examples with these ids, or, where none has one, at that place.

        Inputs are read at most once, and of the examples alone where the data set states ids that
        these are. Others may be digests by which `log_examples` told its inputs apart.

        Raises:
            UsageError: there is none.
        """
        places = self._places(frozenset(example_ids))
        return [self._found(example_id, places) for example_id in example_ids]

    def _places(self, wanted: frozenset[str]) -> dict[str, Example | int]:
        """Examples, or where they are, by their ids."""
        found: dict[str, Example | int] = {}
        has_ids = stated_id(self.source, 0) is not None
        if has_ids:
            for index in range(len(self)):
                found_id = str(stated_id(self.source, index))
                if found_id in wanted:
                    found.setdefault(found_id, index)
        rest = {n for n in wanted - found.keys() if (is_digest(n) if has_ids else not is_place(n))}
        examples = self.examples() if rest else iter(())
        while rest and (example := next(examples, None)) is not None:
            for name in rest & {example.id, *digests_of(example.input)}:
                found[name] = example
                rest.remove(name)
        return found

    def _found(self, example_id: str, places: Mapping[str, Example | int]) -> Example:
        known = places.get(example_id)
        if isinstance(known, Example):
            return known
        if known is not None:
            return self.example(known)
        if example_id.isdigit() and int(example_id) < len(self):
            return self.example(int(example_id))
        path = Path(example_id)
        no_file = ", and there is no such file" if path.suffix and not path.is_file() else ""
        if is_digest(example_id):
            no_file += NO_SUCH_INPUT
        raise UsageError(
            f"data set {self.name} has no example {example_id!r}{no_file}; `telemetry evaluate` "
            f"lists the ids; positions are 0 to {len(self) - 1}."
        )

    def _token(self, name: str) -> int | None:
        value = unwrapped(stated(self.source, name))
        if value is not None and not isinstance(value, int):
            raise UsageError(f"data set {self.name}: {name} is {value!r}, expected a number.")
        return value

    def _item(self, index: int) -> Sequence[object]:
        try:
            item = self.source[index]
        except Exception as error:  # the user's code may raise anything
            raise UsageError(
                f"data set {self.name}: item {index} cannot be read ({type(error).__name__}: "
                f"{error})."
            ) from error
        if not isinstance(item, tuple | list) or len(item) not in {2, 3}:
            raise UsageError(f"data set {self.name}: item {index} is {no_item(item)}.")
        return item

    def _input(self, value: object, index: int) -> Tensor:
        values = self._numbers(value, index)
        if values.is_floating_point():
            self._check_values(values, index)
        return values

    def _numbers(self, value: object, index: int) -> Tensor:
        place = f"data set {self.name}: the input of item {index}"
        is_one = not isinstance(value, Mapping | tuple | list)  # then no other item is read
        several = None if is_one else self.several
        return input_of(value, place) if several is None else several.joined(value, place)

    def _check_values(self, values: Tensor, index: int) -> None:
        n_bad = int((~torch.isfinite(values)).sum())
        if n_bad:
            raise UsageError(
                f"data set {self.name}: item {index} has values that are not finite ({n_bad} of "
                f"{values.numel()}); clean them."
            )
        complaint = self.outside_range(values)
        if complaint is not None:
            raise UsageError(f"data set {self.name}: item {index} has {complaint}.")

    def outside_range(self, values: Tensor) -> str | None:
        """What is wrong with values that lie outside the stated range; None: nothing."""
        if self.stated_range is None or not values.numel():
            return None
        low, high = self.stated_range
        plain = self.plain(values)
        least, most = float(plain.min()), float(plain.max())
        slack = ROUNDING * (high - low)
        if least >= low - slack and most <= high + slack:
            return None
        when = "" if self.normalisation[0] is None else " before normalisation"
        return f"values from {least:g} to {most:g}{when}, outside value_range {low:g} to {high:g}"
