"""Acceptance test A6: is the planted slice found, and is nothing found where nothing is planted?

    python benchmarks/explain/slices.py [--draws 200] [--seed 1000]

A table of 4,000 examples with 8 columns of 4 or 5 values; errors at 10 % and, where two random
columns have two random values (125 to 280 examples), at 30 %. Every draw has a seed of its own;
permuting the errors of a table with a planted slice leaves its shares and takes the slice away.
"""

import argparse
import time

import numpy as np
import numpy.typing as npt
from judged import examples, share

from telemetry.evaluate.slicing.columns import slicing_columns
from telemetry.evaluate.slicing.judged import Errors
from telemetry.evaluate.slicing.search import Outcome, Search, search_slices

N = 4_000
VALUES = (4, 5, 4, 5, 4, 5, 4, 5)
BASE_ERROR = 0.1
NAMES = "abcdefgh"


def search(
    wrong: npt.NDArray[np.bool_],
    columns: dict[str, list[str]],
    depth: int,
    *,
    confirm: bool = False,
) -> Outcome:
    """The search of `telemetry slices`, over a table in memory."""
    judged = Errors(wrong.astype(np.float64))
    material = examples(~wrong, columns)
    used = slicing_columns(material, judged.values, ()).used
    return search_slices(material, judged, used, Search(depth=depth, confirm=confirm))


def table(seed: int, error: float) -> tuple[npt.NDArray[np.bool_], dict[str, list[str]], set[str]]:
    """Wrong answers, columns, and the columns of the planted slice with their values."""
    generator = np.random.default_rng(seed)
    codes = np.stack([generator.integers(0, k, N) for k in VALUES])
    first, second = sorted(generator.choice(len(VALUES), 2, replace=False).tolist())
    levels = generator.integers(0, VALUES[first]), generator.integers(0, VALUES[second])
    inside = (codes[first] == levels[0]) & (codes[second] == levels[1])
    wrong = generator.random(N) < np.where(inside, error, BASE_ERROR)
    columns = {name: [f"v{v}" for v in row] for name, row in zip(NAMES, codes, strict=True)}
    planted = {f"m_{NAMES[first]}=v{levels[0]}", f"m_{NAMES[second]}=v{levels[1]}"}
    return wrong, columns, planted


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1_000)
    options = parser.parse_args()
    for depth in (2, 3):
        for error in (0.3, 0.25, 0.2):
            report(options.draws, options.seed, depth, error)
        silent = sum(
            not search(shuffled(seed), table(seed, 0.3)[1], depth).slices
            for seed in range(options.seed, options.seed + options.draws)
        )
        print(f"depth {depth}, errors permuted: silent in {share(silent, options.draws)}")


def shuffled(seed: int) -> npt.NDArray[np.bool_]:
    """The errors of a table with a planted slice, in another order."""
    return np.random.default_rng(seed + 500_000).permutation(table(seed, 0.3)[0])


def report(draws: int, first_seed: int, depth: int, error: float) -> None:
    """Rates over tables with a planted slice of that error."""
    first = alone = tested = 0
    started = time.perf_counter()
    for seed in range(first_seed, first_seed + draws):
        wrong, columns, planted = table(seed, error)
        found = search(wrong, columns, depth)
        tested = found.tested
        names = [{f"{column}={level}" for column, level in s.conditions} for s in found.slices]
        first += bool(names) and names[0] == planted
        alone += names == [planted]
    each = (time.perf_counter() - started) / draws
    print(
        f"depth {depth}, planted {100 * error:.0f} %: first in {share(first, draws)}, the only one "
        f"in {share(alone, draws)}; {tested} groups, {each:.2f} s a search"
    )


if __name__ == "__main__":
    main()
