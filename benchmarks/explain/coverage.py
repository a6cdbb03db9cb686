"""A5: does `explain coverage` name what training lacks, and nothing else?

    python benchmarks/explain/coverage.py [--seeds 21 22 23 24 25]

Digits of 24 x 24 pixels. Once training lacks the sevens; once the test images are brighter, by 0.1
to 0.4 of their range before clipping; once nothing is different. The bound of brightness is
counted as right where it is that of the training images to 0.002.
"""

import argparse
import sys

import numpy as np
import torch
from torch import Tensor
from watermark import N_TRAIN, Images, digits, network

from telemetry import explain
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.training_gaps.training_coverage import Coverage, coverage

SEVEN = 7
LIGHTS = (0.1, 0.2, 0.3, 0.4)


class Pictures(Images):
    """Images of a stated range."""

    value_range = (0.0, 1.0)


def sides(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images with their labels, another half for each seed."""
    images, labels = digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    images, labels = images[order].clamp(0, 1), labels[order]
    return (images[:N_TRAIN], labels[:N_TRAIN]), (images[N_TRAIN:], labels[N_TRAIN:])


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive has the larger score; ties count half."""
    more = scores[positive][:, None] - scores[~positive][None]
    return float(((more > 0) + 0.5 * (more == 0)).mean())


def asked(
    seed: int, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[Coverage, np.ndarray]:
    """The comparison, and the labels of the test images."""
    model = network(seed, *train)
    sets = [ExampleSet(Pictures(*side), name) for side, name in ((train, "train"), (test, "test"))]
    return coverage(explain.load(model), *sets), test[1].numpy()


def gaps(found: Coverage) -> str:
    """The reported ones, findings in capitals."""
    names = [g.attribute.upper() if g.is_finding else g.attribute for g in found.reported]
    return ", ".join(names) or "none"


def main() -> None:
    """Print three kinds of lines for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23, 24, 25])
    for seed in parser.parse_args().seeds:
        train, test = sides(seed)
        kept = train[1] != SEVEN
        found, labels = asked(seed, (train[0][kept], train[1][kept]), test)
        assert found.distances is not None  # noqa: S101 - the network has a linear layer
        knn = next(gap for gap in found.gaps if gap.kind == "knn")
        sevens = labels == SEVEN
        print(
            f"seed {seed} without sevens: AUC {auc(found.distances, sevens):.4f}, far away "
            f"{knn.outside[sevens].mean():.1%} of the sevens, {knn.outside[~sevens].mean():.1%} of "
            f"the others; gaps {gaps(found)}",
            flush=True,
        )
        most = float(np.quantile(train[0].mean((1, 2, 3)).double().numpy(), 0.999))
        for light in LIGHTS:
            found, _ = asked(seed, train, ((test[0] + light).clamp(0, 1), test[1]))
            gap = next(gap for gap in found.gaps if gap.attribute == "brightness")
            bound = gap.train_high is not None and abs(gap.train_high - most) <= 0.002
            knn = next(gap for gap in found.gaps if gap.kind == "knn")
            print(
                f"seed {seed} +{light}: brightness {'reported' if gap.reported else 'SILENT'}, "
                f"bound {'right' if bound else 'WRONG'}, {gap.outside_share:.1%} outside, far away "
                f"{knn.outside_share:.1%}, accuracy {found.accuracy:.3f}; gaps {gaps(found)}",
                flush=True,
            )
        found, _ = asked(seed, train, test)
        most_outside = max(gap.outside_share for gap in found.gaps)
        print(f"seed {seed} control: at most {most_outside:.1%} outside; gaps {gaps(found)}")


if __name__ == "__main__":
    sys.exit(main())
