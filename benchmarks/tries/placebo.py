"""How often a remedy without any effect is confirmed, or said to have made it worse.

`python benchmarks/tries/placebo.py`: small trainings of several kinds. What stands for the remedy
starts from the same weights and draws its batches in another order, which makes it neither better
nor worse. One pair, and two of different seeds.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.diff.diff import DEFAULT_MARGIN
from telemetry.compare.diff.measure import MetricQuestion
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.compare.statistics.verdicts import CLAIM_LEVEL
from telemetry.compare.terms import Direction, Verdict
from telemetry.trials.measured import measured

N_EXAMPLES, N_FEATURES, BATCH = 512, 10, 32
Build = Callable[[nn.Module], torch.optim.Optimizer]
Sides = Sequence[Series]
KINDS: Mapping[str, Build] = {
    "SGD .1": lambda model: torch.optim.SGD(model.parameters(), 0.1),
    "SGD .001": lambda model: torch.optim.SGD(model.parameters(), 0.001),
    "SGD 2": lambda model: torch.optim.SGD(model.parameters(), 2.0),
    "Adam .01": lambda model: torch.optim.Adam(model.parameters(), 0.01),
    "Adam .3": lambda model: torch.optim.Adam(model.parameters(), 0.3),
    "Adam 1": lambda model: torch.optim.Adam(model.parameters(), 1.0),
}


def losses(
    build: Build, seed: int, order: int, *, regression: bool, noise: float, n_steps: int
) -> Series:
    """The losses of one training; the data are the same for each."""
    data = torch.Generator().manual_seed(0)
    x = torch.randn(N_EXAMPLES, N_FEATURES, generator=data)
    sums = x[:, :3].sum(1) + noise * torch.randn(N_EXAMPLES, generator=data)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(N_FEATURES, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = build(model)
    batches = torch.Generator().manual_seed(order)
    found = []
    for _ in range(n_steps):
        rows = torch.randint(N_EXAMPLES, (BATCH,), generator=batches)
        out = model(x[rows])
        loss = (
            nn.functional.mse_loss(out[:, 0], sums[rows])
            if regression
            else nn.functional.cross_entropy(out, (sums[rows] > 0).long())
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    return Series(steps=np.arange(n_steps), values=np.array(found), of_batches=True)


def verdicts(pairs: Sequence[tuple[Series, Series]], n_pairs: int) -> Iterator[Verdict]:
    """What is claimed of each choice of so many seeds, one way and the other."""
    question = MetricQuestion(name=LOSS, direction=Direction.LOWER, margin=DEFAULT_MARGIN)
    for chosen in itertools.combinations(pairs, n_pairs):
        for turned in (False, True):
            sides = zip(*(pair[::-1] if turned else pair for pair in chosen), strict=True)
            control, treated = (_group(side) for side in sides)
            result = measured(question, control, treated)
            yield result.verdict if result.p <= CLAIM_LEVEL else Verdict.INCONCLUSIVE


def _group(curves: Sides) -> MetricCurves:
    return MetricCurves(
        curves=tuple(curves), seeds=tuple(range(len(curves))), n_diverged=0, diverged_at=None
    )


def main() -> None:
    """A line each kind in which anything was claimed, then all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each kind")
    given = parser.parse_args()
    torch.set_num_threads(1)
    total: dict[int, list[Verdict]] = {1: [], 2: []}
    for kind, regression, noise, n_steps in itertools.product(
        KINDS, (False, True), (0.0, 1.0), (100, 300)
    ):
        settings = {"regression": regression, "noise": noise, "n_steps": n_steps}
        pairs = [
            (
                losses(KINDS[kind], seed, 2 * seed, **settings),  # type: ignore[arg-type]
                losses(KINDS[kind], seed, 2 * seed + 1, **settings),  # type: ignore[arg-type]
            )
            for seed in range(given.seeds)
        ]
        if not all(np.isfinite(one.values).all() for pair in pairs for one in pair):
            continue
        for n_pairs, so_far in total.items():
            found = list(verdicts(pairs, n_pairs))
            so_far.extend(found)
            if _share(found, Verdict.IMPROVEMENT):
                print(f"{kind} {settings} {n_pairs} pairs: {_words(found)}", flush=True)
    for n_pairs, found in total.items():
        print(f"{n_pairs} pairs: {_words(found)}")


def _share(found: Sequence[Verdict], verdict: Verdict) -> float:
    return sum(one is verdict for one in found) / len(found)


def _words(found: Sequence[Verdict]) -> str:
    better, worse = (_share(found, v) for v in (Verdict.IMPROVEMENT, Verdict.REGRESSION))
    return f"confirmed {better:.1%}, made worse {worse:.1%} of {len(found)}"


if __name__ == "__main__":
    main()
