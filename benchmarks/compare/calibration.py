"""How often `diff` is wrong, and how often it sees: rates over pairs and groups of real runs.

    python benchmarks/compare/real_runs.py
    python benchmarks/compare/calibration.py [--half reporting] [--draws 400] [--metric loss]

Of each workload one half of the seeds (the odd ones) is reported; everything that was chosen was
chosen on the other (`--half tuning`). A comparison draws runs of one half without replacement, so
that no run is on both sides; comparisons share runs, and the Wilson 95 % intervals take them as
independent. A planted change shifts all of a candidate's curve by a multiple of the standard
deviation of the final values over the half. The margin is 1 %.
"""

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telemetry.compare.curves.align import Series
from telemetry.compare.diff.measure import MetricQuestion, measure
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.compare.diff.result import MetricChange
from telemetry.compare.terms import Direction, Verdict

DECIDING = {
    "digits_cnn": "val_loss",
    "tabular_mlp": "val_loss",
    "char_transformer": "val_loss",
    "autoencoder": "val_mse",
}
HALVES = {"tuning": 0, "reporting": 1}
VARIANTS = ("twin", "nudge", "change")
MARGIN = 0.01
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Curves of one workload's half, shape (seeds, points), by variant; `metric` is compared."""

    metric: str
    every: int
    variants: dict[str, Floats]

    def series(self, variant: str, seed: int, shift: float = 0.0) -> Series:
        """One run's curve."""
        values = self.variants[variant][seed] + shift
        return Series(steps=np.arange(1, values.size + 1) * self.every - 1, values=values)

    def group(self, variant: str, seeds: Sequence[int], shift: float = 0.0) -> MetricCurves:
        """Runs of some seeds, which `diff` is told."""
        return MetricCurves(
            curves=tuple(self.series(variant, seed, shift) for seed in seeds),
            seeds=tuple(int(seed) for seed in seeds),
        )

    @property
    def deviation(self) -> float:
        """Standard deviation of the final values of the unchanged workload."""
        n = len(self.variants["base"])
        return float(np.std([self.series("base", seed).final() for seed in range(n)], ddof=1))


def load(path: Path, half: str, metric: str) -> Runs:
    """The half of a workload's runs that is asked for."""
    arrays = np.load(path)
    names = [name for name in arrays.files if name.split("/", 1)[1] == metric]
    variants = {name.split("/", 1)[0]: arrays[name][HALVES[half] :: 2] for name in names}
    return Runs(metric=metric, every=1 if metric == "loss" else 10, variants=variants)


def draws(n_seeds: int, n_chosen: int, n_draws: int) -> Iterator[list[int]]:
    """Random seeds without replacement; the same for every rate."""
    generator = np.random.default_rng(20260102)
    for _ in range(n_draws):
        yield [int(seed) for seed in generator.choice(n_seeds, n_chosen, replace=False)]


def compared(runs: Runs, n: int, shift: float, n_draws: int) -> list[MetricChange]:
    """`n` runs against `n` others of the same code, the candidate shifted by deviations."""
    question = MetricQuestion(name=runs.metric, direction=direction(runs.metric), margin=MARGIN)
    sign = 1 if question.direction is Direction.LOWER else -1
    planted = sign * shift * runs.deviation
    return [
        measure(question, runs.group("base", seeds[:n]), runs.group("base", seeds[n:], planted))
        for seeds in draws(len(runs.variants["base"]), 2 * n, n_draws)
    ]


def against(runs: Runs, variant: str, n: int, n_draws: int, *, same: bool) -> list[MetricChange]:
    """`n` runs against `n` of another variant, with the same seeds or with others."""
    question = MetricQuestion(name=runs.metric, direction=direction(runs.metric), margin=MARGIN)
    total = min(len(runs.variants["base"]), len(runs.variants[variant]))
    return [
        measure(
            question,
            runs.group("base", seeds[:n]),
            runs.group(variant, seeds[:n] if same else seeds[n:]),
        )
        for seeds in draws(total, 2 * n, n_draws)
    ]


def direction(metric: str) -> Direction:
    """Accuracies rise."""
    return Direction.HIGHER if "accuracy" in metric else Direction.LOWER


def wilson(hits: int, n: int) -> str:
    """A rate in per cent with its Wilson interval."""
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{100 * p:.1f} % ({100 * max(0, centre - half):.1f}-{100 * (centre + half):.1f})"


def share(changes: Sequence[MetricChange], said: Callable[[MetricChange], bool]) -> str:
    """Rate of comparisons of which something holds."""
    return wilson(sum(map(said, changes)), len(changes))


def is_regression(change: MetricChange) -> bool:
    """The false alarm, or the planted change found."""
    return change.verdict is Verdict.REGRESSION


def covers(name: str) -> Callable[[MetricChange], bool]:
    """Whether the interval of `final`, `best` or `area` holds 0, the truth for the same code."""

    def holds(change: MetricChange) -> bool:
        quantity = change if name == "final" else getattr(change, name)
        return bool(quantity.ci_low <= 0 <= quantity.ci_high)

    return holds


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/compare-runs"))
    parser.add_argument("--half", choices=sorted(HALVES), default="reporting")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--metric", help="Instead of the deciding one of each workload.")
    arguments = parser.parse_args()
    workloads = [
        (name, load(arguments.folder / f"{name}.npz", arguments.half, arguments.metric or metric))
        for name, metric in DECIDING.items()
        if (arguments.folder / f"{name}.npz").exists()
    ]
    rates_table(workloads, arguments.draws)
    pairing_table(workloads, arguments.draws)


def rates_table(workloads: Sequence[tuple[str, Runs]], n_draws: int) -> None:
    """False alarms, power and coverage."""
    print("| | " + " | ".join(name for name, _ in workloads) + " |")
    print("|---|" + "---|" * len(workloads))
    columns: list[list[tuple[str, str]]] = []
    for _, runs in workloads:
        rows = [("seed deviation", f"{100 * runs.deviation / mean_final(runs):.1f} %")]
        for n in (1, 3, 5):
            equal = compared(runs, n, 0.0, n_draws)
            verdicts = Counter(change.verdict for change in equal)
            rows.append((f"{n} against {n}, same code: regression", share(equal, is_regression)))
            rows += [
                (f"{n} against {n}, same code: {word}", wilson(verdicts[word], n_draws))
                for word in (Verdict.IMPROVEMENT, Verdict.NO_CHANGE)
            ]
            rows += [
                (f"{n} against {n}: coverage of {name}", share(equal, covers(name)))
                for name in ("final", "best", "area")
            ]
            rows += [
                (
                    f"{n} against {n}, {shift} deviations planted: regression",
                    share(compared(runs, n, float(shift), n_draws), is_regression),
                )
                for shift in (2, 4)
            ]
        columns.append(rows)
    for rows in zip(*columns, strict=True):
        print(f"| {rows[0][0]} | " + " | ".join(cell for _, cell in rows) + " |")


def pairing_table(workloads: Sequence[tuple[str, Runs]], n_draws: int) -> None:
    """What equal seeds are worth."""
    print("\n| workload, candidate, runs a side, seeds | regression | no change | paired |")
    print("|---|---|---|---|")
    settings = itertools.product(workloads, VARIANTS, (1, 3, 5), (True, False))
    for (name, runs), variant, n, same in settings:
        changes = against(runs, variant, n, n_draws, same=same)
        cells = (
            f"{name}, {variant}, {n}, {'equal' if same else 'other'}",
            share(changes, is_regression),
            share(changes, lambda change: change.verdict is Verdict.NO_CHANGE),
            share(changes, lambda change: change.paired),
        )
        print(f"| {' | '.join(cells)} |")


def mean_final(runs: Runs) -> float:
    """Mean final value of the unchanged workload."""
    n = len(runs.variants["base"])
    return float(np.mean([runs.series("base", seed).final() for seed in range(n)]))


if __name__ == "__main__":
    main()
