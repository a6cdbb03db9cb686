"""How often `diff` is wrong, and how often it sees: rates over synthetic curves.

    python benchmarks/compare/calibration.py [--pairs 400]

Curves fall exponentially to 0.5 with AR(1) noise of memory 0.7; a seed shifts a whole curve by a
normal amount. A planted change shifts the candidate by a multiple of that deviation. Rates carry
Wilson 95 % intervals.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from telemetry.compare.align import Series
from telemetry.compare.diff_result import Direction, Verdict
from telemetry.compare.measure import Group, Question, measure

QUESTION = Question(name="val_loss", direction=Direction.LOWER, margin=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: runs a side, points a curve, deviations, planted shift."""

    runs: int
    points: int
    seed_noise: float
    step_noise: float
    shift: float


def curve(generator: np.random.Generator, setting: Setting, shift: float) -> Series:
    """One synthetic run over 1,000 steps, sampled at `points` of them."""
    steps = np.linspace(0, 999, setting.points).astype(np.int64)
    shocks = generator.normal(0, setting.step_noise * math.sqrt(1 - 0.7**2), setting.points)
    noise = np.zeros(setting.points)
    for i in range(1, setting.points):
        noise[i] = 0.7 * noise[i - 1] + shocks[i]
    trend = 0.5 + 2.0 * np.exp(-steps / 150)
    offset = generator.normal(0, setting.seed_noise)
    return Series(steps=steps, values=trend + noise + offset + shift)


def rates(setting: Setting, pairs: int) -> Counter[Verdict]:
    """Verdicts over many independent comparisons."""
    generator = np.random.default_rng(20260102)
    found: Counter[Verdict] = Counter()
    for _ in range(pairs):
        sides = [
            Group(curves=tuple(curve(generator, setting, shift) for _ in range(setting.runs)))
            for shift in (0.0, setting.shift * setting.seed_noise)
        ]
        found[measure(QUESTION, *sides).change.verdict] += 1
    return found


def wilson(hits: int, n: int) -> str:
    """A rate in per cent with its Wilson interval."""
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{100 * p:5.1f} % ({100 * max(0, centre - half):.1f}-{100 * (centre + half):.1f})"


def settings() -> Iterator[Setting]:
    """Healthy pairs first, planted changes after."""
    for shift in (0.0, 4.0, 6.0):
        for runs in (1, 2, 3, 5):
            for points in (10, 500):
                for seed_noise in (0.01, 0.03):
                    yield Setting(
                        runs=runs,
                        points=points,
                        seed_noise=seed_noise,
                        step_noise=0.03 if points > 10 else 0.003,
                        shift=shift,
                    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=400)
    pairs = parser.parse_args().pairs
    print("shift/sd  runs  points  seed sd   regression              improvement        no change")
    for setting in settings():
        found = rates(setting, pairs)
        cells = [
            wilson(found[v], pairs)
            for v in (Verdict.REGRESSION, Verdict.IMPROVEMENT, Verdict.NO_CHANGE)
        ]
        print(
            f"{setting.shift:8.0f}{setting.runs:6d}{setting.points:8d}{setting.seed_noise:9.2f}   "
            + "   ".join(cells)
        )


if __name__ == "__main__":
    main()
