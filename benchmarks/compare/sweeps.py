"""How often `sweep` is right: sweeps with known truth, synthetic and real.

    python benchmarks/compare/sweeps.py [--seeds 4] [--folder build/sweeps] [--without-real]

Of thirty synthetic settings (`synthetic_sweeps.py`) by as many seeds, and of six real searches
(`real_sweeps.py`): is the parameter that decides ranked first, is one that does nothing called
important, is the failing region named (the right parameters and relations, and at least nine in ten
runs on the right side), are interactions found. By the forest and by rank correlation. The forest
was tuned on other sweeps than these. Rates carry Wilson 95 % intervals.
"""

import argparse
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np

from real_sweeps import IRRELEVANT, SWEEPS, recorded  # isort: skip
from synthetic_sweeps import SEARCHES, TRUTHS, SyntheticSweep, made  # isort: skip

from telemetry.compare.settings.repeats import grouped
from telemetry.compare.sweep import forest
from telemetry.compare.sweep.failures import attribute_failures
from telemetry.compare.sweep.importance import mean_ranks
from telemetry.compare.sweep.parameter_effects import Outcomes, judged
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.compare.sweep.result import Failure, Parameter
from telemetry.compare.sweep.sweep import sweep_runs
from telemetry.store.store import Store

FIRST_SEED = 1_000  # the forest was tuned on others
RIGHT_SIDE = 0.9  # of the runs, for a region to count as named
Tally = Counter[tuple[str, bool]]


def wilson(hits: int, n: int) -> str:
    """A rate in per cent with its Wilson interval."""
    if not n:
        return "-"
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = 100 * max(0, centre - half), 100 * min(1, centre + half)
    return f"{hits} of {n} = {100 * p:.1f} % ({low:.1f}-{high:.1f})"


def ordered(parameters: tuple[Parameter, ...]) -> list[Parameter]:
    """As the screen shows them."""
    return sorted(parameters, key=lambda one: (-one.important, -one.importance))


def named(failure: Failure, rule: tuple[str, ...], n_runs: int) -> bool:
    """Whether the rule is the true one, with its threshold about right."""
    texts = [str(condition) for condition in failure.conditions]
    right = len(texts) == len(rule) and all(any(t.startswith(r) for t in texts) for r in rule)
    return right and failure.errors <= (1 - RIGHT_SIDE) * n_runs


def outcomes_of(sweep: SyntheticSweep) -> Outcomes:
    """As `sweep_parameters.outcomes`, without runs behind it."""
    ranks = mean_ranks(sweep.values)
    groups = grouped(sweep.configs)
    if len(groups) < forest.FEWEST_RUNS:
        groups = [[i] for i in range(ranks.size)]
    return Outcomes(
        parameters=tuple(varied_parameters([sweep.configs[group[0]] for group in groups])),
        ranks=np.array([ranks[group].mean() for group in groups]),
        values=np.array([sweep.values[group].mean() for group in groups]),
    )


def score_synthetic(sweep: SyntheticSweep, tally: Tally) -> None:
    """Add what one synthetic sweep shows."""
    found = judged(outcomes_of(sweep))
    truth = sweep.truth
    tally["first", ordered(found.parameters)[0].name == truth.decides] += 1
    useless = [one for one in found.parameters if one.name not in truth.acting]
    for one in useless:
        tally["irrelevant", one.important] += 1
    tally["any irrelevant", any(one.important for one in useless)] += 1
    pairs = {frozenset({pair.first, pair.second}) for pair in found.interactions}
    if truth.pair:
        tally["pair found", truth.pair in pairs] += 1
    false = {pair for pair in pairs if not pair <= set(truth.acting)}
    tally["false pair", bool(false)] += 1
    (failure,) = attribute_failures(varied_parameters(sweep.configs), {"broken": sweep.failed})
    tally["region", named(failure, truth.rule, len(sweep.configs))] += 1


def show(title: str, tally: Tally) -> None:
    """One line a question."""
    print(title)
    for question in dict.fromkeys(name for name, _ in tally):
        hits, misses = tally[question, True], tally[question, False]
        print(f"  {question:16s} {wilson(hits, hits + misses)}", flush=True)


def synthetic(n_seeds: int, *, by_setting: bool) -> None:
    """All settings by all seeds, by both methods."""
    available = forest.is_available
    for method in ("forest", "rank correlation"):
        forest.is_available = available if method == "forest" else lambda: False
        total: Tally = Counter()
        start = time.perf_counter()
        for kind in TRUTHS:
            part: Tally = Counter()
            for search in SEARCHES:
                for seed in range(n_seeds):
                    score_synthetic(made(kind, search, FIRST_SEED + seed), part)
            if by_setting:
                show(f"{kind}, {method}", part)
            total += part
        show(f"SYNTHETIC, {method}, {time.perf_counter() - start:.0f} s", total)
    forest.is_available = available


def real(folder: Path, n_runs: int) -> None:
    """The six real sweeps, and each again on random halves of its runs."""
    total: Tally = Counter()
    for name, store_path in recorded(folder, n_runs).items():
        truth, store = SWEEPS[name], Store.open(store_path)
        runs = store.runs()
        generator = np.random.default_rng(sorted(SWEEPS).index(name))
        parts = [runs, *(_part(generator, runs) for _ in range(3))]
        for i, part in enumerate(parts):
            sweep = sweep_runs(store, part)
            first = sweep.parameters[0]
            total["first", first.name == truth.decides] += 1
            useless = next(one for one in sweep.parameters if one.name == IRRELEVANT)
            total["irrelevant", useless.important] += 1
            if truth.failing is not None:
                parameter, relation = truth.failing
                rules = [
                    condition
                    for failure in sweep.failures[:2]
                    for condition in failure.conditions
                    if condition.parameter == parameter
                ]
                total["region", any(relation in str(one) for one in rules)] += 1
            if i == 0:
                rows = [f"{f.detector} where {f.rule or 'no rule'}" for f in sweep.failures[:3]]
                print(f"{name}: {first.name} {first.importance:.2f}; {'; '.join(rows)}", flush=True)
    show("REAL, all runs and three random three quarters of them", total)


def _part(generator: np.random.Generator, runs: list) -> list:  # type: ignore[type-arg]
    chosen = generator.permutation(len(runs))[: 3 * len(runs) // 4]
    return [runs[i] for i in chosen]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="of each synthetic setting")
    parser.add_argument("--folder", type=Path, default=Path("build/sweeps"))
    parser.add_argument("--runs", type=int, default=32, help="of each real sweep")
    parser.add_argument("--without-real", action="store_true")
    parser.add_argument("--without-synthetic", action="store_true")
    parser.add_argument("--by-setting", action="store_true")
    asked = parser.parse_args()
    if not asked.without_synthetic:
        synthetic(asked.seeds, by_setting=asked.by_setting)
    if not asked.without_real:
        real(asked.folder, asked.runs)


if __name__ == "__main__":
    main()
