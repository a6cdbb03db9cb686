"""What a data set of the user says of itself by optional attributes, and by what its items are."""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from telemetry.explain.names import kind_of
from telemetry.json_values import Json

ITEM = "(input, label) or (input, label, metadata)"
MOST_KEYS = 6  # of a message
LABEL_KEYS = frozenset({"label", "labels", "target", "targets", "y"})
METADATA_KINDS = (str, bool, int, float, type(None))


class Source(Protocol):
    """What the user gives: items that can be counted and read."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> object:
        """(input, label) or (input, label, metadata)."""
        ...


def stated(source: object, name: str) -> object:
    """An attribute of a data set, or, where it is a `Subset` of one, of the whole; None: none."""
    value = getattr(source, name, None)
    whole = getattr(source, "dataset", None)
    if value is None and whole is not None and hasattr(source, "indices"):
        return stated(whole, name)
    return value


def stated_id(source: object, index: int) -> str | None:
    """What `example_id` of a data set, or of the whole that it is a part of, says of an item."""
    namer = getattr(source, "example_id", None)
    if callable(namer):
        return str(namer(index))
    whole, places = getattr(source, "dataset", None), getattr(source, "indices", None)
    if whole is None or places is None:
        return None
    return stated_id(whole, int(cast("Sequence[int]", places)[index]))


def unreadable(source: object) -> str:
    """Why something has no items that can be counted and read, and what to do."""
    kind = f"{kind_of(source)}, expected __len__ and __getitem__(i) -> {ITEM}"
    if isinstance(source, torch.utils.data.DataLoader):
        return f"{kind}; pass its data set, without batches"
    if hasattr(source, "__iter__"):
        return f"{kind}; pass a list of its items"
    return kind


def no_item(item: object) -> str:
    """What something is that is no item, and what to do."""
    if isinstance(item, Mapping):
        keys = [str(key) for key in item][:MOST_KEYS]
        label = next((key for key in keys if key in LABEL_KEYS), "label")
        values = next((key for key in keys if key != label), "input")
        return (
            f"a dictionary of {', '.join(keys)}, expected {ITEM}; use a data set that returns "
            f'item["{values}"], item["{label}"]'
        )
    size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
    return f"{kind_of(item)}{size}, expected {ITEM}"


def no_input(value: object) -> str:
    """What something is that is no input, and what to do."""
    kind = f"{kind_of(value)}, expected numbers as a tensor or array"
    if hasattr(value, "convert") and hasattr(value, "getbands"):  # of Pillow
        return f"{kind}; return channels x height x width, as torchvision's ToTensor does"
    if isinstance(value, str):
        return f"{kind}; return the numbers of its tokens"
    if isinstance(value, tuple | list | Mapping):
        return f"{kind}; return one tensor, and use a --model that splits it again"
    return kind


def no_metadata(value: object) -> str:
    """What something is that is no metadata, and what to do."""
    kind = f"{kind_of(value)}, expected a dictionary"
    return f"{kind}; combine two inputs into one tensor, and use a --model that splits it"


def no_label(value: object) -> str:
    """What something is that is no label, and what to do."""
    if isinstance(value, Tensor | np.ndarray | list | tuple):
        parts = np.asarray(value.cpu() if isinstance(value, Tensor) else value).ravel()
        is_code = parts.dtype.kind in "biuf" and parts.size > 1
        if is_code and int((parts == 1).sum()) == 1 == int(np.count_nonzero(parts)):
            return f"one-hot ({parts.size} numbers), expected a class; return its argmax"
        return (
            f"{kind_of(value)} of {parts.size} values, expected one: explain one output at a "
            "time, with label[k] in the data set and output[:, k] from --output-fn "
            "package.module:function"
        )
    return f"{kind_of(value)}, expected a class, its name, or a finite number"


def of_channels(value: object, values: Tensor) -> Tensor:
    """A number or one a channel (of a row: a column) in a shape that fits an input."""
    numbers = torch.as_tensor(value, dtype=torch.float32)
    if numbers.numel() == 1:
        return numbers.reshape(())
    return numbers.reshape((-1,) + (1,) * (values.dim() - 1))


def unwrapped(value: object) -> object:
    """The number inside a tensor or array of one element; anything else as it is."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value
    if isinstance(value, np.generic | np.ndarray):
        return value.item() if value.size == 1 else value
    return value


def metadata_value(value: object) -> Json:
    """A value of metadata as it is kept: what is no text, number or None as text."""
    value = unwrapped(value)
    return value if isinstance(value, METADATA_KINDS) else str(value)
