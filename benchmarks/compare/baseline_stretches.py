"""What a baseline file costs in power: all points, every k-th point, or means over stretches.

`python benchmarks/compare/baseline_stretches.py [PAIRS]` compares groups of synthetic losses of
6,000 steps (AR(1) noise, an offset by seed of 0.02) with and without a planted regression. Every
k-th point stands for what `docs/decisions/0017-a-baseline-is-a-summary.md` has tried and left.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
from compare.curve_makers import loss_curve

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.thinning import averaged, picked
from telemetry.compare.diff.baseline_format import MOST_POINTS
from telemetry.compare.diff.compared_run import ComparedRun, Side
from telemetry.compare.diff.diff import Criteria, diff_summaries
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.terms import DivergenceKind
from telemetry.format.manifest import Status

N_STEPS, SEED_DEVIATION = 6_000, 0.02
NOT_ASKED = Divergence(step=None, kind=DivergenceKind.UNKNOWN, layer=None, detail="")
FORMS: dict[str, Callable[[Series], Series]] = {
    "all points": lambda series: series,
    "every k-th": lambda series: picked(series, MOST_POINTS),
    "means of k": lambda series: averaged(series, MOST_POINTS),
}


def summary(seed: int, shift: float, step_noise: float) -> ComparedRun:
    """A run of which only the loss is known."""
    labels = RunLabels(
        run=f"r{seed}",
        project="p",
        name="a",
        status=Status.FINISHED,
        started="",
        steps=N_STEPS,
        config={},
        tags=(),
        metrics={},
    )
    noise = {"seed_noise": SEED_DEVIATION, "step_noise": step_noise}
    curve = loss_curve(seed, n=N_STEPS, shift=shift, **noise)
    return ComparedRun(
        labels=labels, settings={}, curves={"loss": curve}, layers={}, costs={}, findings=()
    )


def shown_as(side: Side, form: Callable[[Series], Series]) -> Side:
    """The side with its curves in one form."""
    return tuple(
        replace(one, curves={name: form(series) for name, series in one.curves.items()})
        for one in side
    )


def main(n_pairs: int) -> None:
    """Print the share of regressions by form."""
    print("runs  shift/sd  noise/sd  " + "  ".join(FORMS))
    for n_runs, deviations, noise in (
        (3, 0, 2.5),
        (5, 2, 2.5),
        (5, 4, 2.5),
        (3, 0, 10.0),
        (5, 2, 10.0),
        (5, 4, 10.0),
    ):
        found: Counter[str] = Counter()
        for pair in range(n_pairs):
            seeds = np.arange(2 * n_runs) + 1_000 * pair
            step_noise = noise * SEED_DEVIATION
            base = tuple(summary(int(seed), 0.0, step_noise) for seed in seeds[:n_runs])
            shift = deviations * SEED_DEVIATION
            other = tuple(summary(int(seed), shift, step_noise) for seed in seeds[n_runs:])
            for name, form in FORMS.items():
                sides = shown_as(base, form), shown_as(other, form)
                found[name] += diff_summaries(*sides, Criteria(), NOT_ASKED).verdict == "regression"
        shares = "  ".join(f"{found[name] / n_pairs:10.1%}" for name in FORMS)
        print(f"{n_runs:4}  {deviations:8}  {noise:8}  {shares}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
