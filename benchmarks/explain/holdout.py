"""How optimistic is the winner of a cross-validation on its folds, and is it on the holdout?

    python benchmarks/explain/holdout.py [--draws 400] [--configurations 20]

Classification of 200 examples by least squares, fresh data for every draw. Each configuration sees
five features of ten, chosen at random; all features weigh alike, so that none is better but by
luck. The truth is the accuracy of the winner, trained on all but the holdout, on 20,000 examples.
"""

import argparse

import numpy as np
import numpy.typing as npt
from judged import MOMENT, RUN

from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore
from telemetry.evaluate.cross_validation.verdicts import judge_configurations, winner
from telemetry.explain.folds.folds import Fold, make_folds

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

N, N_TRUTH, N_FEATURES, N_SEEN, HOLDOUT = 200, 20_000, 10, 5, 0.2


def accuracy(x: Floats, y: Floats, seen: Places, train: Places, test: Places) -> float:
    """Of least squares on some features, trained and scored on some examples."""
    design = np.column_stack([x[:, seen], np.ones(len(x))])
    gram = design[train].T @ design[train] + np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design[train].T @ y[train])
    return float((np.sign(design[test] @ weights) == y[test]).mean())


def configuration(
    name: int, x: Floats, y: Floats, seen: Places, folds: list[Fold]
) -> Configuration:
    """A configuration with its score on every fold."""
    scores = {
        fold.place: FoldScore(
            run=RUN,
            cv_id="memory",
            config_id=str(name),
            parameters={"features": name},
            place=fold.place,
            fold_digest="",
            n_train=len(fold.train_idx),
            n_test=len(fold.test_idx),
            metric="accuracy",
            value=accuracy(x, y, seen, fold.train_idx, fold.test_idx),
            status="ok",
            is_holdout=False,
            written_at=MOMENT,
        )
        for fold in folds
    }
    return Configuration(config_id=str(name), parameters={"features": name}, folds=scores)


def excesses(seed: int, n_configurations: int) -> tuple[float, float]:
    """What the winner scores on its folds and on the holdout above the truth."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(N + N_TRUTH, N_FEATURES))
    y = np.where(x.sum(axis=1) + generator.normal(0, 2.5, len(x)) > 0, 1.0, -1.0)
    parted = make_folds(labels=y[:N].tolist(), seed=seed, holdout=HOLDOUT)
    seen = [generator.permutation(N_FEATURES)[:N_SEEN] for _ in range(n_configurations)]
    every = [configuration(i, x, y, own, list(parted.folds)) for i, own in enumerate(seen)]
    places = [fold.place for fold in parted.folds]
    judged = judge_configurations(every[0], every[1:], places, Direction.HIGHER)
    best = winner(judged, len(places), Direction.HIGHER)
    aside = parted.holdout
    if best is None or aside is None:
        raise RuntimeError("every fold has a score, so there is a winner")
    features = seen[int(best.config_id)]
    truth = accuracy(x, y, features, aside.train_idx, np.arange(N, len(x)))
    held_out = accuracy(x, y, features, aside.train_idx, aside.test_idx)
    return float(np.mean(best.values(places))) - truth, held_out - truth


def main() -> None:
    """Print the mean excess over the truth, with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5_000)
    parser.add_argument("--configurations", type=int, nargs="+", default=[1, 5, 20])
    options = parser.parse_args()
    for n_configurations in options.configurations:
        seeds = range(options.seed, options.seed + options.draws)
        found = 100 * np.array([excesses(seed, n_configurations) for seed in seeds])
        error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        folds, holdout = (
            f"{mean:+.2f} ± {of_it:.2f}"
            for mean, of_it in zip(found.mean(axis=0), error, strict=True)
        )
        print(f"{n_configurations} configurations: folds {folds} points, holdout {holdout} points")


if __name__ == "__main__":
    main()
