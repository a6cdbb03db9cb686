"""The runs that are not beaten in everything: the front of metric against cost."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def undominated(costs: Sequence[Sequence[float]]) -> npt.NDArray[np.bool_]:
    """Which rows no other row equals or undercuts everywhere and undercuts somewhere.

    Args:
        costs: One row a run, lower is better; a column that is nowhere finite counts for nothing,
            and a run without a finite value in another column is not on the front.

    Returns:
        Shape (n,).
    """
    table = np.array(costs, dtype=np.float64).reshape(len(costs), -1)
    table = table[:, np.isfinite(table).any(axis=0)]
    found = np.zeros(len(costs), dtype=np.bool_)
    if not table.shape[1]:
        return found
    complete = np.isfinite(table).all(axis=1)
    # In this order a row comes after all that beat it: the first that is left is beaten by none.
    left = np.flatnonzero(complete)
    left = left[np.lexsort(table[left].T[::-1])]
    while left.size:
        rows, best = table[left], table[left[0]]
        found[left[(rows == best).all(axis=1)]] = True
        left = left[(rows < best).any(axis=1)]
    return found
