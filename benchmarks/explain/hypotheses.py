"""Acceptance test A7: is exactly the regressed hypothesis found, and no seed pair flagged?

    python benchmarks/explain/hypotheses.py [--draws 100] [--models 30] [--seeds 3 4 6 8]

Networks for 8 x 8 digits (scikit-learn), trained on 900 images and differing in their seed alone,
judged on the other 897 under ten transforms. A draw takes a base, further seed runs and a candidate
without replacement; the planted candidate is another seed of which 20 % of the right answers under
noise are spoiled. Needs scikit-learn.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from judged import examples, share
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from telemetry.compare.terms import Verdict
from telemetry.evaluate.hypothesis_testing.hypothesis import ACCURACY
from telemetry.evaluate.hypothesis_testing.measures import measured
from telemetry.evaluate.hypothesis_testing.pairs import paired_examples
from telemetry.evaluate.hypothesis_testing.result import Result
from telemetry.evaluate.hypothesis_testing.verdicts import (
    HypothesisQuestion,
    Rules,
    judge_questions,
)

Images = npt.NDArray[np.float64]
N_TRAIN = 900
SPOILED = "noise"
DECIDED = {Verdict.REGRESSION, Verdict.IMPROVEMENT}


def moved(rows: int, columns: int) -> Callable[[Images], Images]:
    """Shift by whole pixels."""
    return lambda x: np.roll(x, (rows, columns), axis=(1, 2))


def noise(x: Images) -> Images:
    """Gaussian noise, the same for every model."""
    return x + np.random.default_rng(1).normal(0, 0.2, x.shape)


def occluded(x: Images) -> Images:
    """A blank square of two pixels near the middle."""
    hidden = x.copy()
    hidden[:, 3:5, 3:5] = 0
    return hidden


TRANSFORMS: dict[str, Callable[[Images], Images]] = {
    "plain": lambda x: x,
    "right": moved(0, 1),
    "down": moved(1, 0),
    "noise": noise,
    "dark": lambda x: 0.6 * x,
    "bright": lambda x: x + 0.2,
    "contrast": lambda x: 0.5 + 0.6 * (x - 0.5),
    "blur": lambda x: (x + np.roll(x, 1, 1) + np.roll(x, -1, 1)) / 3,
    "occluded": occluded,
    "inverted rows": lambda x: x[:, ::-1],
}
Answers = dict[str, npt.NDArray[np.bool_]]


def trained(n_models: int) -> list[Answers]:
    """Right answers of each network under each transform."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = digits.images[order] / 16, digits.target[order]
    train, rest = slice(None, N_TRAIN), slice(N_TRAIN, None)
    found = []
    for seed in range(n_models):
        model = MLPClassifier((48,), max_iter=25, learning_rate_init=0.01, random_state=seed)
        model.fit(images[train].reshape(N_TRAIN, -1), labels[train])
        found.append(
            {
                name: model.predict(change(images[rest]).reshape(len(labels[rest]), -1))
                == labels[rest]
                for name, change in TRANSFORMS.items()
            }
        )
    return found


def compared(
    base: Answers, candidate: Answers, seeds: Sequence[Answers], rules: Rules
) -> Mapping[str, Result]:
    """The comparison of `telemetry hypotheses compare`, over answers in memory."""
    questions = []
    for name in TRANSFORMS:
        pairs = paired_examples(examples(base[name]), examples(candidate[name]))
        questions.append(
            HypothesisQuestion(
                hypothesis=name,
                pairs=pairs,
                metric=ACCURACY,
                values=np.stack(
                    [measured(side, ACCURACY) for side in (pairs.base, pairs.candidate)]
                ),
                seed_values=np.array([float(seed[name].mean()) for seed in seeds]),
            )
        )
    return {result.hypothesis: result for result in judge_questions(questions, rules)}


def spoiled(answers: Answers, generator: np.random.Generator) -> Answers:
    """A fifth of the right answers under noise made wrong."""
    right = answers[SPOILED]
    return {**answers, SPOILED: right & (generator.random(len(right)) >= 0.2)}


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 6, 8])
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # 25 epochs are enough here
    models = trained(options.models)
    for name in TRANSFORMS:
        values = np.array([float(model[name].mean()) for model in models])
        print(f"{name:14} accuracy {values.mean():.3f}, sd over seeds {values.std(ddof=1):.4f}")
    for n_seeds in options.seeds:
        report(models, n_seeds, options.draws)
    alone(models, options.draws)


def report(models: Sequence[Answers], n_seeds: int, draws: int) -> None:
    """Rates with a number of seed runs, the base among them."""
    generator = np.random.default_rng(n_seeds)
    found = exact = flagged = 0
    for _ in range(draws):
        chosen = [models[i] for i in generator.choice(len(models), n_seeds + 1, replace=False)]
        *seeds, other = chosen
        planted = compared(seeds[0], spoiled(other, generator), seeds, Rules())
        worse = {name for name, r in planted.items() if r.verdict in DECIDED}
        found += planted[SPOILED].verdict is Verdict.REGRESSION
        exact += worse == {SPOILED}
        same = compared(seeds[0], other, seeds, Rules())
        flagged += any(result.verdict in DECIDED for result in same.values())
    print(
        f"{n_seeds} seeds: found {share(found, draws)}, exactly it {share(exact, draws)}, seed "
        f"pairs flagged {share(flagged, draws)}"
    )


def alone(models: Sequence[Answers], draws: int) -> None:
    """Seed pairs flagged when the question is about two checkpoints."""
    generator = np.random.default_rng(99)
    flagged = 0
    for _ in range(draws):
        base, other = (models[i] for i in generator.choice(len(models), 2, replace=False))
        same = compared(base, other, [], Rules(needs_seeds=False))
        flagged += any(result.verdict in DECIDED for result in same.values())
    print(f"no seed baseline: seed pairs flagged {share(flagged, draws)}")


if __name__ == "__main__":
    main()
