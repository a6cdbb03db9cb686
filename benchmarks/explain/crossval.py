"""Acceptance test A9: do equal learners seldom differ, and does the better one win?

    python benchmarks/explain/crossval.py [--draws 400]

Classification of 200 examples with 10 features by least squares, fresh data for every draw. Equal
learners: each sees a random half of its training fold; alike learners: each sees five features of
equal weights. Better learner: the incumbent sees 20 examples, the other the whole fold.
"""

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from judged import MOMENT, RUN, share

from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.result import Compared, Standing
from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore
from telemetry.evaluate.cross_validation.verdicts import judge_configurations, winner

Floats = npt.NDArray[np.float64]
Learner = Callable[[Floats, Floats, np.random.Generator], Floats]

N, N_FEATURES, N_FOLDS = 200, 10, 5


def fitted(x: Floats, y: Floats) -> Floats:
    """Ridge weights, shape (n_features + 1,)."""
    design = np.column_stack([x, np.ones(len(x))])
    gram = design.T @ design + np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(gram, design.T @ y))


def half(x: Floats, y: Floats, generator: np.random.Generator) -> Floats:
    """Learns from a random half."""
    chosen = generator.permutation(len(x))[: len(x) // 2]
    return fitted(x[chosen], y[chosen])


def few(x: Floats, y: Floats, generator: np.random.Generator) -> Floats:
    """Learns from 20 examples."""
    chosen = generator.permutation(len(x))[:20]
    return fitted(x[chosen], y[chosen])


def first_features(x: Floats, y: Floats, _: np.random.Generator) -> Floats:
    """Learns from the first five features."""
    return fitted(x * (np.arange(N_FEATURES) < N_FEATURES // 2), y)


def last_features(x: Floats, y: Floats, _: np.random.Generator) -> Floats:
    """Learns from the last five features."""
    return fitted(x * (np.arange(N_FEATURES) >= N_FEATURES // 2), y)


def whole(x: Floats, y: Floats, _: np.random.Generator) -> Floats:
    """Learns from all."""
    return fitted(x, y)


def scored(
    learner: Learner, x: Floats, y: Floats, splits: list[npt.NDArray[np.int64]], seed: int
) -> Configuration:
    """Accuracies over the folds of every repetition."""
    generator = np.random.default_rng(seed)
    folds = {}
    for repeat, order in enumerate(splits):
        for fold, test in enumerate(np.array_split(order, N_FOLDS)):
            train = np.setdiff1d(order, test)
            weights = learner(x[train], y[train], generator)
            predicted = np.sign(np.column_stack([x[test], np.ones(len(test))]) @ weights)
            folds[repeat, fold] = FoldScore(
                run=RUN,
                cv_id="memory",
                config_id=str(seed),
                parameters={"learner": seed},
                place=(repeat, fold),
                fold_digest="",
                n_train=len(train),
                n_test=len(test),
                metric="accuracy",
                value=float((predicted == y[test]).mean()),
                status="ok",
                is_holdout=False,
                written_at=MOMENT,
            )
    return Configuration(config_id=str(seed), parameters={"learner": seed}, folds=folds)


def compared(incumbent: Learner, other: Learner, seed: int, repeats: int) -> list[Compared]:
    """The incumbent and another learner on fresh data and the same folds."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(N, N_FEATURES))
    weights = np.tile(generator.normal(size=N_FEATURES // 2), 2)  # both halves matter alike
    score = x @ weights + generator.normal(0, 2.5, N)
    y = np.where(score > 0, 1.0, -1.0)
    splits = [generator.permutation(N) for _ in range(repeats)]
    first, second = (
        scored(learner, x, y, splits, 2 * seed + place)
        for place, learner in enumerate((incumbent, other))
    )
    return judge_configurations(first, [second], sorted(first.folds), Direction.HIGHER)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=3_000)
    options = parser.parse_args()
    cases = {
        "equal": (half, half),
        "alike": (first_features, last_features),
        "better": (few, whole),
    }
    for repeats in (1, 2, 10):
        for name, (incumbent, other) in cases.items():
            significant = naive = chosen = 0
            for seed in range(options.seed, options.seed + options.draws):
                judged = compared(incumbent, other, seed, repeats)
                significant += judged[1].verdict in {Standing.BETTER, Standing.WORSE}
                best = winner(judged, repeats * N_FOLDS, Direction.HIGHER)
                chosen += best is judged[1].configuration
                naive += is_naively_different(judged)
            print(
                f"{repeats} x {N_FOLDS} folds, {name} learners: corrected test rejects "
                f"{share(significant, options.draws)}, naive {share(naive, options.draws)}, other "
                f"chosen {share(chosen, options.draws)}"
            )


def is_naively_different(judged: list[Compared]) -> bool:
    """The paired t test that takes the folds as independent, at 5 %."""
    places = sorted(judged[0].configuration.folds)
    first, second = (np.array(entry.configuration.values(places)) for entry in judged)
    differences = second - first
    error = differences.std(ddof=1) / np.sqrt(len(places))
    limits = {5: 2.776, 10: 2.262, 50: 2.010}
    return bool(abs(differences.mean()) > limits[len(places)] * error)


if __name__ == "__main__":
    main()
