"""Numbers of many steps on their way to the host: one copy for each device that they lie on."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Number: TypeAlias = Tensor | float
Kept: TypeAlias = Number | tuple[Number, ...] | None


def on_host(
    columns: Mapping[str, Sequence[Kept]], *, integers: Container[str]
) -> dict[str, list[tuple[float, ...]]]:
    """The numbers of each cell; on the writer thread, for it waits for the devices.

    Args:
        columns: Cells by column, each with none, one or several numbers.
        integers: Columns of whole numbers, which are brought over exactly; the others as doubles.
    """
    flat: dict[bool, list[Number]] = {False: [], True: []}
    counts: dict[str, list[int]] = {}
    for name, cells in columns.items():
        counts[name] = _flattened(cells, flat[name in integers])
    floats, whole = host_numbers(flat[False], flat[True])
    numbers: dict[bool, Iterator[float]] = {False: iter(floats), True: iter(whole)}
    return {name: _cells(counts[name], numbers[name in integers]) for name in columns}


def _flattened(cells: Sequence[Kept], into: list[Number]) -> list[int]:
    """Adds the numbers of a column to others; returns how many each cell has."""
    counts = []
    for cell in cells:
        if cell is None:
            counts.append(0)
        elif isinstance(cell, tuple):
            into.extend(cell)
            counts.append(len(cell))
        else:
            into.append(cell)
            counts.append(1)
    return counts


def _cells(counts: Sequence[int], numbers: Iterator[float]) -> list[tuple[float, ...]]:
    """The inverse: the next of the numbers as cells; most columns have none or one in each."""
    least, most = min(counts, default=0), max(counts, default=0)
    if not most:
        return [()] * len(counts)
    if least == most == 1:
        return list(zip(islice(numbers, len(counts)), strict=False))
    return [tuple(islice(numbers, count)) for count in counts]


def host_numbers(
    floats: Sequence[Number], integers: Sequence[Number] = ()
) -> tuple[list[float], list[int]]:
    """Both as numbers of the host, in order."""
    numbers = [math.nan if isinstance(value, Tensor) else float(value) for value in floats]
    whole = [0 if isinstance(value, Tensor) else int(value) for value in integers]
    places: dict[torch.device, tuple[list[int], list[int]]] = {}
    for which, values in enumerate((floats, integers)):
        for index, value in enumerate(values):
            if isinstance(value, Tensor):
                places.setdefault(value.device, ([], []))[which].append(index)
    for float_places, whole_places in places.values():
        doubles, longs = _copied(
            [floats[index] for index in float_places], [integers[index] for index in whole_places]
        )
        for index, number in zip(float_places, doubles, strict=True):
            numbers[index] = number
        for index, integer in zip(whole_places, longs, strict=True):
            whole[index] = integer
    return numbers, whole


def _copied(floats: Sequence[Number], integers: Sequence[Number]) -> tuple[list[float], list[int]]:
    """Both as they come from their one device; doubles travel as the bits that they are."""
    parts = []
    if floats:
        doubles = [_as_double(value) for value in floats if isinstance(value, Tensor)]
        parts.append(torch.stack(doubles).view(torch.int64))
    if integers:
        longs = [value.detach().long() for value in integers if isinstance(value, Tensor)]
        parts.append(torch.stack(longs))
    bits = torch.cat(parts).cpu().numpy()
    return bits[: len(floats)].view(np.float64).tolist(), bits[len(floats) :].tolist()


def _as_double(value: Tensor) -> Tensor:
    value = value.detach()
    value = value if value.dim() == 0 else value.float().mean()
    return value.real.double() if value.is_complex() else value.double()
