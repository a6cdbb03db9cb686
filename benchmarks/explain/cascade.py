"""Model randomisation: does a cascade of layers tell more than the output layer and all weights?

    python benchmarks/explain/cascade.py [--seeds 0 1 2] [--methods ig guided ...] [--explained 1]

Of the networks of `watermark.py` (with the shortcut and without the mark, 3 layers) and of one of 6
layers the weights are drawn again from the output layer downwards, one layer more at a stage, in
five random models a stage. The rank correlation of their maps with the own one is printed stage by
stage, mean over the inputs, and how many maps fail (0.5 or more) at the ends, which is what the
check asks, and at any stage.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from watermark import (
    ALIGNED,
    BATCH,
    N_TRAIN,
    OTHERS,
    SHORTCUT,
    STEPS,
    Split,
    controls,
    shortcut,
    some,
    split,
    with_mark,
)

from telemetry import explain
from telemetry.explain.attribution.checks import LEAST_MODELS, SIMILAR, rank_correlation, support_of
from telemetry.explain.attribution.question import AttributionQuestion, ask
from telemetry.explain.models.random_weights import run_order, with_random_weights
from telemetry.explain.models.subject import examples_of
from telemetry.requests.explain.input import InputSettings


@dataclass(frozen=True, kw_only=True)
class Course:
    """Correlations of one map, from the output layer alone to all layers."""

    stages: tuple[float, ...]

    def fails(self, *, ends_only: bool) -> bool:
        """Whether it is too like a map of random models."""
        asked = (self.stages[0], self.stages[-1]) if ends_only else self.stages
        return max(asked) >= SIMILAR


def deep(seed: int, data: Split) -> nn.Module:
    """Four convolutions and two linear layers with the shortcut, trained."""
    others, labels = some(OTHERS, seed), data.train_labels.clone()
    labels[others] = SHORTCUT
    images, chosen = data.train.clone(), labels == SHORTCUT
    images[chosen] = with_mark(images[chosen], ALIGNED)
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(STEPS):
        picks = torch.randint(0, N_TRAIN, (BATCH,))
        loss = functional.cross_entropy(model(images[picks]), labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def course(question: AttributionQuestion) -> Course:
    """The stages of one question; call it inside `running(gradient=True)`."""
    problem = question.problem()
    found = question.answered(problem)
    order = run_order(question.model, lambda: problem.scores(problem.values[None]))
    n = found.native.numel()
    support = support_of(problem.values, question.all_references, question.segments, n)
    own = found.native[support]

    def stage(layers: Sequence[str]) -> float:
        models = [with_random_weights(question.model, s, layers) for s in range(LEAST_MODELS)]
        maps = [question.answered(question.problem(model)).native[support] for model in models]
        return abs(sum(rank_correlation(own, other) for other in maps) / len(maps))

    return Course(stages=tuple(stage(order[-depth:]) for depth in range(1, len(order) + 1)))


def row(title: str, model: nn.Module, data: Split, method: str, n: int) -> None:
    """One line of the table."""
    subject = explain.load(model, dataset=data.marked(ALIGNED))
    found = []
    for place in range(n):
        with subject.running(gradient=True):
            example = examples_of(subject).find(str(place))
            found.append(course(ask(subject, example, "pred", InputSettings(method=method))))
    means = (sum(stage) / n for stage in zip(*(one.stages for one in found), strict=True))
    failed = [sum(one.fails(ends_only=only) for one in found) for only in (True, False)]
    print(
        f"{title:10} {method:10} {' '.join(f'{mean:.2f}' for mean in means):30} "
        f"fail at the ends {failed[0]}, at any stage {failed[1]} of {n}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["ig", "occlusion", "deconv", "guided"])
    parser.add_argument("--explained", type=int, default=1, help="Inputs of each network.")
    given = parser.parse_args()
    for seed in given.seeds:
        print(f"seed {seed}")
        data = split(seed)
        networks = {
            "shortcut": shortcut(seed, data, ALIGNED),
            "never": controls(seed, data, ALIGNED)["never"],
            "deep": deep(seed, data),
        }
        for title, model in networks.items():
            for method in given.methods:
                row(title, model.eval(), data, method, given.explained)


if __name__ == "__main__":
    sys.exit(main())
