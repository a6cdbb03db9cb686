"""Explained shares by a random forest: the main effect of each parameter.

Shares are of the variance of the scores, not of the forest's own: what the forest cannot explain
belongs to nobody. The marginals of all trees are averaged before their variance is taken, so that
what single trees make of the noise mostly cancels.

Source: fANOVA after Hutter et al. 2014 (`fanova.py`); groups of trees on one resample of the runs
after Sexton and Laake 2009 and Athey et al. 2019 ("bootstrap of little bags").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from telemetry.compare.sweep.fanova import Floats, Ints, Tree, main_variances, marginals
from telemetry.compare.sweep.importance import SEED
from telemetry.compare.sweep.parameters import Mask, Varied

Features = npt.NDArray[np.float32]

BAGS = 60  # resamples of the runs
TREES_PER_BAG = 8
PERMUTATIONS = 99
TREES_PER_PERMUTATION = 12
RUNS_PER_TREE = 256  # drawn at most: 1,000 runs would take ten seconds and show the same
FEWEST_RUNS = 10  # configurations below which a forest has nothing to average over
LATER_BAND = 0.95  # benchmarks/compare/sweeps.py: 1 of 180 irrelevant parameters beyond it
NO_SPREAD = 1e-9  # of ranks, whose variance is at least 1/12 where any two differ
ABSENT = -1  # position of a bin that a parameter lacks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What one tree sees, whatever the scores.

    Attributes:
        positions: Place of each bin, shape (n_parameters, n_bins).
        features: Bins of the drawn runs in those places, shape (n_drawn, n_parameters).
        rows: The runs drawn, with replacement, shape (n_drawn,).
        seed: Of the tree's own choices between equal splits.
    """

    positions: Ints
    features: Features
    rows: Ints
    seed: int


def is_available() -> bool:
    """Whether scikit-learn is installed; does not import it."""
    return find_spec("sklearn") is not None


class Forest:
    """Trees over the bins of varied parameters.

    Categories, and what is not set, stand in an order that is drawn anew for each tree, so that no
    order is preferred. A parameter that another one switches on takes a random value where it is
    off: that it is off is the other one's doing.
    """

    permutations = PERMUTATIONS
    later_band = LATER_BAND

    def __init__(self, parameters: Sequence[Varied]) -> None:
        self._parameters = tuple(parameters)
        n_bins = max(len(one.labels) for one in self._parameters)
        counts = [np.bincount(one.bins[_active(one)], minlength=n_bins) for one in self._parameters]
        self._frequencies = np.array([count / count.sum() for count in counts])

    def shares(self, scores: Floats) -> Floats:
        """Explained shares of main effects, shape (n_rows, n) to (n_rows, n_parameters)."""
        plans = self._plans(np.random.default_rng(SEED), TREES_PER_PERMUTATION)
        return np.array([self._main(self._grown(row, plans), row) for row in scores])

    def resampled(self, scores: Floats) -> tuple[Floats, Floats]:
        """Shares by all trees, and by those of each resample of the runs."""
        generator = np.random.default_rng(SEED)
        bags = [
            self._grown(scores, self._plans(generator, TREES_PER_BAG, one_resample=True))
            for _ in range(BAGS)
        ]
        shares = np.array([self._main(bag, scores) for bag in bags])
        mean = shares.mean(axis=0)  # resamples of m of n runs spread sqrt(n / m) times too far
        spread = math.sqrt(min(RUNS_PER_TREE / scores.size, 1.0))
        return self._main(np.mean(bags, axis=0), scores), mean + spread * (shares - mean)

    def _main(self, single: Floats, scores: Floats) -> Floats:
        total = max(float(np.var(scores)), NO_SPREAD)
        variances = main_variances(single, self._frequencies)
        return np.asarray(np.clip(variances / total, 0, 1), dtype=np.float64)

    def _grown(self, scores: Floats, plans: Sequence[Plan]) -> Floats:
        """Marginal means of one tree for each plan, averaged, shape (n_parameters, n_bins)."""
        import sklearn  # noqa: PLC0415 - an extra, and slow to import
        from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415 - the same

        trees: list[Floats] = []
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            for plan in plans:
                model = DecisionTreeRegressor(random_state=plan.seed)
                fitted = model.fit(plan.features, scores[plan.rows], check_input=False).tree_
                tree = Tree(
                    left=fitted.children_left,
                    right=fitted.children_right,
                    feature=fitted.feature,
                    threshold=fitted.threshold,
                    value=fitted.value[:, 0, 0],
                )
                trees.append(marginals(tree, plan.positions, self._frequencies))
        return np.asarray(np.mean(trees, axis=0), dtype=np.float64)

    def _plans(
        self, generator: np.random.Generator, count: int, *, one_resample: bool = False
    ) -> list[Plan]:
        """What `count` trees see: orders of their own, resamples of their own or one for all."""
        n = self._parameters[0].bins.size
        size = min(n, RUNS_PER_TREE)
        rows = generator.integers(n, size=(1 if one_resample else count, size))
        plans: list[Plan] = []
        for i in range(count):
            positions, chosen = self._positions(generator), rows[i % len(rows)]
            features = self._features(positions, generator)[chosen]
            plans.append(Plan(positions=positions, features=features, rows=chosen, seed=i))
        return plans

    def _positions(self, generator: np.random.Generator) -> Ints:
        """Place of each bin in the order of one tree; -1 for bins that a parameter lacks."""
        positions = np.full(self._frequencies.shape, ABSENT)
        for row, one in zip(positions, self._parameters, strict=True):
            n_ranges, n_labels = one.n_ranges, len(one.labels)
            texts = generator.permutation(n_labels - n_ranges)
            if n_ranges:  # texts below or above all numbers
                below = int(generator.integers(texts.size + 1))
                row[:n_ranges] = np.arange(n_ranges) + below
                texts = np.where(texts < below, texts, texts + n_ranges)
            row[n_ranges:n_labels] = texts
        return positions

    def _features(self, positions: Ints, generator: np.random.Generator) -> Features:
        """The bins of all runs as one tree sees them, shape (n, n_parameters)."""
        columns: list[Ints] = []
        for row, one in zip(positions, self._parameters, strict=True):
            active = _active(one)
            bins = np.where(active, one.bins, generator.choice(one.bins[active], one.bins.size))
            columns.append(row[bins])
        return np.asarray(np.stack(columns, axis=1), dtype=np.float32)


def _active(parameter: Varied) -> Mask:
    """Runs in which the parameter can do something."""
    if parameter.condition:
        return parameter.is_set
    return np.ones(parameter.bins.size, dtype=np.bool_)
