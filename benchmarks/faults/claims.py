"""Whether each fault hurts and each control learns: `python benchmarks/faults/claims.py [ID ...]`.

Trains each recipe, and each faulty one once more with the same seed and without its fault (its
twin), and adds one line for it to claims.jsonl. What is in the file is not trained again, so that
it can be filled in pieces. Both margins were written down before any of these figures was seen:

- a fault hurts if it loses five points of a share against its twin (accuracy and its like), or if
  its loss is 1.2 times that of the twin;
- a control learns if it beats the best answer that never looks at its inputs by the same margin;
  where that answer is not known, its loss has to be 1.2 times less than at the start.

A loss is the median of the last tenth of what was recorded; at the start, of the first three.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

import torch
from material import Bench
from pool import map_over
from recipe import Recipe
from registry import RECIPES

from telemetry.store.store import Store

STORED = Path(__file__).with_name("claims.jsonl")
POINTS = 0.05  # of a share
TIMES = 1.2  # of a loss, or of a time

# In the order in which they are asked for.
SHARES = ("accuracy", "val_accuracy", "neighbour_accuracy", "explained", "correlation", "reward")
LOSSES = ("val_loss", "error", "reconstruction", "final_loss")
CONSTANT = {"explained": 0.0, "correlation": 0.0}  # by definition; of other shares the recipe tells
LESS_IS_BETTER = {"optimism", "apart"}  # shares of harm

Result = Mapping[str, float]
LOSS_SQL = "SELECT loss FROM steps WHERE loss IS NOT NULL ORDER BY step"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a recipe claims of one seed, and whether it is so.

    Attributes:
        recipe: Its id.
        seed: Of model and data.
        measure: What was compared; None where there is nothing to compare.
        value: Of the run; None if it is not finite.
        reference: Of the twin of a fault; of knowing nothing for a control.
        holds: The fault hurts, or the control learns; None where that cannot be said.
    """

    recipe: str
    seed: int
    measure: str | None = None
    value: float | None = None
    reference: float | None = None
    holds: bool | None = None

    @property
    def word(self) -> str:
        """`holds`, `fails` or `not stated`."""
        return {True: "holds", False: "fails", None: "not stated"}[self.holds]


def losses(store: Path) -> Result:
    """What the recorded loss of the last run began and ended with."""
    opened = Store.open(store)
    with opened.session([opened.runs()[0]]) as session:
        values = [float(row["loss"]) for row in session.query(LOSS_SQL).records()]
    if not values:
        return {}
    end = values[-max(1, len(values) // 10) :]
    final = median(end) if all(map(math.isfinite, end)) else math.inf
    return {"first_loss": median(values[:3]), "final_loss": final}


def harm(recipe: Recipe, seed: int, faulty: Result, twin: Result) -> Claim:
    """Whether a fault costs more than the margin."""
    measure = recipe.measure or _first((*SHARES, *LOSSES), faulty, twin)
    if measure is None or not math.isfinite(twin[measure]):
        return Claim(recipe=recipe.id, seed=seed)
    value, reference = faulty[measure], twin[measure]
    hurts = not math.isfinite(value) or _better(measure, reference, value)
    return _claim(recipe, seed, measure, (value, reference), holds=hurts)


def premise(recipe: Recipe, seed: int, reached: Result) -> Claim:
    """Whether a control learns."""
    constant = {
        **CONSTANT,
        **{name: reached["constant"] for name in SHARES if "constant" in reached},
    }
    measure = _first([name for name in SHARES if name in constant], reached)
    if measure is not None:
        value, reference = reached[measure], constant[measure]
        learns = _better(measure, value, reference)
        return _claim(recipe, seed, measure, (value, reference), holds=learns)
    start, end = reached.get("first_loss", math.nan), reached.get("final_loss", math.nan)
    if not start > 0 or not end > 0:  # signed: its size says nothing
        return Claim(recipe=recipe.id, seed=seed)
    learns = _better("final_loss", end, start)
    return _claim(recipe, seed, "final_loss", (end, start), holds=learns)


def _first(names: Iterable[str], *results: Result) -> str | None:
    return next((name for name in names if all(name in result for result in results)), None)


def _better(measure: str, one: float, other: float) -> bool:
    """Whether `one` beats the other by the margin."""
    if measure in LESS_IS_BETTER:
        return other - one >= POINTS
    if measure in LOSSES or measure == "seconds":
        return other - one >= (TIMES - 1) * abs(one)
    return one - other >= POINTS


def _claim(
    recipe: Recipe, seed: int, measure: str, pair: tuple[float, float], *, holds: bool
) -> Claim:
    value, reference = (float(f"{v:.4g}") if math.isfinite(v) else None for v in pair)
    return Claim(
        recipe=recipe.id, seed=seed, measure=measure, value=value, reference=reference, holds=holds
    )


def trained(recipe: Recipe, bench: Bench) -> Result:
    """Train a recipe, or its twin; what it reached."""
    torch.set_num_threads(1)
    torch.manual_seed(bench.seed)
    started = time.perf_counter()
    recipe.build(bench)
    bench.result["seconds"] = time.perf_counter() - started
    bench.result |= losses(bench.store)
    return bench.result


def claim_of(unit: tuple[str, int]) -> Claim:
    """Train what a claim is about."""
    name, seed = unit
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(seed=seed, store=Path(folder) / "run")
        reached = trained(recipe, bench)
        if recipe.healthy:
            return premise(recipe, seed, reached)
        if not bench.has_fault:
            return Claim(recipe=name, seed=seed)
        twin = Bench(seed=seed, store=Path(folder) / "twin", is_twin=True)
        return harm(recipe, seed, reached, trained(recipe, twin))


def stored() -> dict[tuple[str, int], Claim]:
    """What claims.jsonl knows."""
    lines = STORED.read_text("utf-8").splitlines() if STORED.exists() else []
    rows = [json.loads(line) for line in lines]
    names = Claim.__dataclass_fields__
    claims = [Claim(**{key: row[key] for key in names}) for row in rows]
    return {(claim.recipe, claim.seed): claim for claim in claims}


def listed(claims: Iterable[Claim]) -> list[str]:
    """How many claims of faults and of controls hold, and which do not."""
    lines = []
    kinds = {"faults that hurt": False, "controls that learn": True}
    claims = sorted(claims, key=lambda claim: (claim.recipe, claim.seed))
    for title, healthy in kinds.items():
        own = [c for c in claims if c.recipe in RECIPES and RECIPES[c.recipe].healthy == healthy]
        lines.append(f"{title}: {sum(c.holds is True for c in own)} of {len(own)}")
        for word in ("fails", "not stated"):
            named = [f"{c.recipe}-{c.seed}" for c in own if c.word == word]
            lines += [f"  {word}: {' '.join(named)}"] if named else []
    return lines


def main() -> None:
    """Train what is not known yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", help="recipes; default all, faults first")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="recipes at a time")
    parser.add_argument("--list", action="store_true", help="train nothing")
    given = parser.parse_args()
    known = stored()
    names = given.ids or sorted(RECIPES, key=lambda name: (RECIPES[name].healthy, name))
    units = [(name, seed) for seed in given.seeds for name in names if (name, seed) not in known]
    made = {"date": datetime.now(UTC).date().isoformat(), "torch": str(torch.__version__)}
    for claim in map_over(claim_of, [] if given.list else units, given.jobs):
        with STORED.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(claim), **made}) + "\n")
        print(
            f"{claim.recipe:8} {claim.seed} {claim.word:10} {claim.measure} {claim.value} "
            f"{claim.reference}",
            flush=True,
        )
    print("\n".join(listed(stored().values())))


if __name__ == "__main__":
    main()
