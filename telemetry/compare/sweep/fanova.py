"""Functional ANOVA of a regression tree over binned parameters: what each one does on its own.

A tree is constant on boxes, so its mean over all other parameters is a sum over its leaves. The
measure is the product of each parameter's own distribution over the runs, which makes the marginals
of a random, a grid and an adaptive search comparable.

Source: Hutter, Hoos, Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter
Importance, section 3.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAF = -1  # child of a leaf in the arrays of a tree


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """A fitted tree as arrays over its nodes, parents before children, shape (n_nodes,)."""

    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    value: Floats


def marginals(tree: Tree, positions: Ints, frequencies: Floats) -> Floats:
    """Mean of a tree over all other parameters, for each bin of each parameter.

    Args:
        tree: Fitted on bins, each parameter's in some order.
        positions: Place of each bin in that order, shape (n_parameters, n_bins).
        frequencies: Share of the runs in each bin, shape (n_parameters, n_bins); rows sum to 1.

    Returns:
        Shape (n_parameters, n_bins).
    """
    low, high, value = boxes(tree, n_parameters=len(positions), n_bins=positions.shape[1])
    inside = (positions >= low[:, :, None]) & (positions <= high[:, :, None])
    mass = (inside * frequencies).sum(axis=2)
    weighted = value * mass.prod(axis=1)
    per_mass = (inside / mass[:, :, None]).reshape(value.size, -1)
    return np.asarray((weighted @ per_mass).reshape(positions.shape), dtype=np.float64)


def boxes(tree: Tree, *, n_parameters: int, n_bins: int) -> tuple[Ints, Ints, Floats]:
    """First and last position of each leaf in each parameter, and the leaf's value.

    Returns:
        Shapes (n_leaves, n_parameters), the same, and (n_leaves,).
    """
    n_nodes = tree.left.size
    low = np.zeros((n_nodes, n_parameters), dtype=np.int64)
    high = np.full((n_nodes, n_parameters), n_bins - 1, dtype=np.int64)
    for node in np.flatnonzero(tree.left != LEAF):
        left, right = tree.left[node], tree.right[node]
        low[left] = low[right] = low[node]
        high[left] = high[right] = high[node]
        cut = int(np.floor(tree.threshold[node]))
        high[left, tree.feature[node]] = cut
        low[right, tree.feature[node]] = cut + 1
    leaves = tree.left == LEAF
    return low[leaves], high[leaves], tree.value[leaves]


def main_variances(single: Floats, frequencies: Floats) -> Floats:
    """Variance of each parameter's marginal; shape (..., n_parameters, n_bins) loses its last."""
    mean = (single * frequencies).sum(axis=-1, keepdims=True)
    return np.asarray((frequencies * (single - mean) ** 2).sum(axis=-1), dtype=np.float64)
