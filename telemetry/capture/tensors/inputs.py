"""What the arguments of a forward hold: tensors, arrays, texts, and how many samples."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

MAX_DEPTH = 8  # of containers in containers


MAX_ENTRIES = 4096  # of one container


Array: TypeAlias = npt.NDArray[np.float64]  # or of another type: generic ones are Any


Leaf: TypeAlias = Tensor | Array | str


def leaves_in(arguments: object, depth: int = MAX_DEPTH) -> Iterator[Leaf]:
    """Tensors, arrays and texts of arguments, in a fixed order.

    Mappings, sequences and dataclasses are entered, the first 4,096 entries of each.
    """
    if isinstance(arguments, Tensor | np.ndarray | str):
        yield arguments
        return
    if depth:
        for value in islice(_entries(arguments), MAX_ENTRIES):
            yield from leaves_in(value, depth - 1)


def _entries(container: object) -> Iterable[object]:
    if isinstance(container, Mapping):
        return container.values()
    if isinstance(container, Sequence):
        return () if isinstance(container, str | bytes | bytearray | range) else container
    if dataclasses.is_dataclass(container) and not isinstance(container, type):
        return [getattr(container, each.name, None) for each in dataclasses.fields(container)]
    return ()


def tensors_in(arguments: object) -> Iterator[Tensor]:
    """Tensors of positional and keyword arguments, containers entered, in a fixed order."""
    if isinstance(arguments, Tensor):
        yield arguments
    else:
        yield from (leaf for leaf in leaves_in(arguments) if isinstance(leaf, Tensor))


def batch_size(args: tuple[object, ...], kwargs: Mapping[str, object]) -> int:
    """Samples of a forward: first dimension of the first array among its arguments; 0 without.

    Of packed sequences, how many there are; of texts, how many stand together.
    """
    first = args[0] if args else None
    if isinstance(first, Tensor) and first.dim():
        return first.size(0)
    # Rare: what follows is too slow for every forward.
    found = (_n_samples(value, MAX_DEPTH) for value in (*args, *kwargs.values()))
    return next((size for size in found if size is not None), 0)


def _n_samples(value: object, depth: int) -> int | None:
    if isinstance(value, Tensor):
        return value.size(0) if value.dim() else None
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes.numpy()[0])
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else None
    entries = list(islice(_entries(value), MAX_ENTRIES)) if depth else []
    if entries and isinstance(value, list | tuple) and all(isinstance(e, str) for e in entries):
        return len(entries)
    found = (_n_samples(entry, depth - 1) for entry in entries)
    return next((size for size in found if size is not None), None)
