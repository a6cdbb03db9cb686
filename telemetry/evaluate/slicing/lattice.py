"""Candidates for a slice: conjunctions of conditions, chosen by their size alone.

Support does not look at what is judged, so the number of tests is known before any is made.

Source: Chung et al., Slice Finder, arXiv:1807.06068; Sagadeeva and Boehm, SliceLine, SIGMOD 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.slicing.levels import Levels

Floats = npt.NDArray[np.float64]

Conditions = tuple[tuple[int, int], ...]  # places of column and level, columns ascending


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Groups of examples with the sums by which they are judged.

    Attributes:
        conditions: Of each group.
        n: Examples of each group, shape (m,).
        sums: Sums of the totals over each group, shape (m, n_totals).
    """

    conditions: tuple[Conditions, ...]
    n: npt.NDArray[np.int64]
    sums: Floats


def candidates(
    columns: Sequence[Levels], totals: Floats, *, depth: int, min_size: int
) -> Candidates:
    """Every conjunction of up to `depth` conditions with enough examples inside and outside.

    One that holds for the same examples as a shorter one is left out.

    Args:
        columns: Columns of the same n examples.
        totals: What is summed over a group, shape (n, n_totals).
        depth: Most conditions.
        min_size: Fewest examples of a group.
    """
    n_all = len(totals)
    sizes: dict[Conditions, int] = {(): n_all}
    conditions: list[Conditions] = []
    counts: list[int] = []
    sums: list[Floats] = []
    for length in range(1, depth + 1):
        for chosen in combinations(range(len(columns)), length):
            found, n, totals_of = _cells(columns, chosen, totals, min_size)
            for key, size, total in zip(found, n, totals_of, strict=True):
                sizes[key] = size
                parents = (key[:i] + key[i + 1 :] for i in range(length))
                if size < n_all and all(sizes.get(parent) != size for parent in parents):
                    conditions.append(key)
                    counts.append(size)
                    sums.append(total)
    return Candidates(
        conditions=tuple(conditions),
        n=np.array(counts, dtype=np.int64),
        sums=np.array(sums, dtype=np.float64).reshape(len(counts), totals.shape[1]),
    )


def members(columns: Sequence[Levels], conditions: Conditions) -> npt.NDArray[np.bool_]:
    """The examples that fulfil every condition, shape (n,)."""
    inside = np.ones(len(columns[0].codes), dtype=np.bool_)
    for column, level in conditions:
        inside &= columns[column].codes == level
    return inside


def _cells(
    columns: Sequence[Levels], chosen: Sequence[int], totals: Floats, min_size: int
) -> tuple[list[Conditions], list[int], Floats]:
    """Cells of the cross table of some columns that are large enough."""
    shape = tuple(len(columns[place].levels) for place in chosen)
    codes = np.ravel_multi_index([columns[place].codes for place in chosen], shape)
    n_cells = int(np.prod(shape))
    n = np.bincount(codes, minlength=n_cells)
    large = np.flatnonzero(n >= min_size)
    if not large.size:
        return [], [], np.empty((0, totals.shape[1]))
    summed = np.empty((large.size, totals.shape[1]), dtype=np.float64)
    for place, column in enumerate(totals.T):
        summed[:, place] = np.bincount(codes, weights=column, minlength=n_cells)[large]
    places = np.stack(np.unravel_index(large, shape), axis=1)
    keys = [
        tuple((column, int(level)) for column, level in zip(chosen, row, strict=True))
        for row in places
    ]
    return keys, n[large].tolist(), summed
