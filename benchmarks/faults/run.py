"""Right causes on faulty runs, silence on healthy ones: `python benchmarks/faults/run.py [ID ...]`.

Trains each recipe with three seeds and default settings, diagnoses it, and prints one line a run
and the rates of each half (halves.py). A finding is counted at warning or error only. Beside it
stands whether the recipe is what it claims to be (claims.py): that a control learns is seen in the
run itself, that a fault hurts in claims.jsonl. Recipes that are not are named, and the rates are
given once more without them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

from claims import Claim, listed, premise, trained
from claims import stored as stored_claims
from halves import Half, dealt, family, stored
from material import Bench
from pool import map_over
from recipe import Recipe
from registry import RECIPES
from scores import Judged, Planted, confusion, held_against, rates, unchecked

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.store.store import Store

SEEDS = (0, 1, 2)
RESULT = "result.json"  # what a run reached, beside its folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What diagnosis said of one run; `result` is what the run reached."""

    recipe: str
    seed: int
    judged: Judged
    state: str
    n_samples: int
    claim: Claim
    result: dict[str, float]
    train_s: float
    diagnose_s: float


def planted(recipe: Recipe) -> Planted:
    """What a diagnosis of it is held against."""
    return Planted(roots=recipe.roots, layers=recipe.layers, by=recipe.by)


def run_once(unit: tuple[str, int], *, folder: Path, options: dict[str, object]) -> Outcome:
    """Train and diagnose one recipe with one seed."""
    name, seed = unit
    bench = Bench(seed=seed, store=folder / f"{name}-{seed}", options=options)
    (bench.store / RESULT).write_text(json.dumps(trained(RECIPES[name], bench)))
    return judge_again(unit, folder=folder)


def judge_again(unit: tuple[str, int], *, folder: Path) -> Outcome:
    """Diagnose a run that was kept, by the rules as they are now."""
    name, seed = unit
    store = folder / f"{name}-{seed}"
    started = time.perf_counter()
    opened = Store.open(store)
    diagnosis = diagnose_run(opened, opened.runs()[0])
    diagnose_s = time.perf_counter() - started
    result = json.loads((store / RESULT).read_text())
    return Outcome(
        recipe=name,
        seed=seed,
        judged=held_against(planted(RECIPES[name]), diagnosis),
        state=diagnosis.state,
        n_samples=diagnosis.n_samples,
        claim=_claim(unit, result),
        result={key: round(value, 4) for key, value in result.items()},
        train_s=round(result.get("seconds", 0.0), 2),
        diagnose_s=round(diagnose_s, 3),
    )


def _claim(unit: tuple[str, int], result: Mapping[str, float]) -> Claim:
    """Of a control by what it reached, of a fault by what is known of its twin."""
    name, seed = unit
    if RECIPES[name].healthy:
        return premise(RECIPES[name], seed, result)
    return stored_claims().get(unit, Claim(recipe=name, seed=seed))


def main() -> None:
    """Run the recipes asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", help="recipes, such as F01 H03a; default all")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--half", choices=[half.value for half in Half], help="only this half")
    parser.add_argument("--every", type=int, help="sample every so many steps, without a budget")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="write the outcomes as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, to be judged again")
    parser.add_argument("--rerun-rules", type=Path, help="judge the runs of such a folder anew")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if any run is misjudged or its claim fails",
    )
    given = parser.parse_args()
    halves = dealt(RECIPES, stored())
    names = [
        name
        for name in given.ids or sorted(RECIPES)
        if given.half is None or halves[name] == given.half
    ]
    units = [(name, seed) for name in names for seed in given.seeds]
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        if given.rerun_rules:
            kept = {path.parent.name for path in given.rerun_rules.glob(f"*/{RESULT}")}
            absent = [f"{name}-{seed}" for name, seed in units if f"{name}-{seed}" not in kept]
            print(f"not kept: {' '.join(absent) or 'none'}")
            units = [unit for unit in units if f"{unit[0]}-{unit[1]}" in kept]
            work = partial(judge_again, folder=given.rerun_rules)
        else:
            options = {"every": given.every, "overhead_budget": None} if given.every else {}
            work = partial(run_once, folder=given.keep or Path(temporary), options=options)
        for outcome in map_over(work, units, given.jobs):
            print(_line(outcome), flush=True)
            outcomes.append(outcome)
    for half in Half:
        _summarise(half, [outcome for outcome in outcomes if halves[outcome.recipe] == half])
    if given.out:
        given.out.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    wrong = [o for o in outcomes if o.judged.verdict != "ok" or o.claim.holds is False]
    if given.strict and wrong:
        sys.exit(1)


def _line(outcome: Outcome) -> str:
    judged = outcome.judged
    return (
        f"{outcome.recipe:5} {outcome.seed} {judged.verdict:12} {judged.named:22} "
        f"{judged.layer or '':14.14} step {judged.step!s:5} {outcome.state:9} "
        f"{outcome.n_samples:4} samples {outcome.train_s:5.1f}s {outcome.diagnose_s:.2f}s "
        f"claim {outcome.claim.word} ({outcome.claim.measure} {outcome.claim.value}, "
        f"{outcome.claim.reference}) "
        f"{outcome.result} {' '.join(judged.others)}"
    )


def _rates(outcomes: Sequence[Outcome]) -> None:
    pairs = [(planted(RECIPES[outcome.recipe]), outcome.judged) for outcome in outcomes]
    for name, text in rates(pairs).items():
        print(f"  {name:24} {text}")


def _summarise(half: Half, outcomes: Sequence[Outcome]) -> None:
    """Rates of one half, which causes were named, and what could not be checked."""
    if not outcomes:
        return
    names = {outcome.recipe for outcome in outcomes}
    n_faults = sum(not RECIPES[name].healthy for name in names)
    print(f"\n{half} half: {n_faults} faults, {len(names) - n_faults} controls")
    _rates(outcomes)
    print("\n".join(f"  {line}" for line in listed(outcome.claim for outcome in outcomes)))
    held = [outcome for outcome in outcomes if outcome.claim.holds]
    print(f"  the {len(held)} runs whose claim holds")
    _rates(held)
    print("  planted: named first")
    causes = [(family(RECIPES[o.recipe]), o.judged.named) for o in outcomes]
    print("\n".join(f"    {line}" for line in confusion(causes)))
    print("  not checked, share of the runs")
    print("\n".join(f"    {line}" for line in unchecked([o.judged for o in outcomes])))


if __name__ == "__main__":
    main()
