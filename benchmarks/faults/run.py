"""Right causes on faulty runs, silence on healthy ones: `python benchmarks/faults/run.py [ID ...]`.

Trains each recipe with three seeds and default settings, diagnoses it, and prints one line a run
and the rates. A finding is counted at warning or error only.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

import control_tasks  # noqa: F401
import control_variants  # noqa: F401
import controls  # noqa: F401 - registers its recipes
import data_faults  # noqa: F401
import faulty  # noqa: F401
import input_recipes  # noqa: F401
import later_controls  # noqa: F401
import logit_recipes  # noqa: F401
import loss_and_optimizer  # noqa: F401
import mode_faults  # noqa: F401
import more_controls  # noqa: F401
import more_faults  # noqa: F401
import scaled_faults  # noqa: F401
import sequence_recipes  # noqa: F401
import torch
import wiring_faults  # noqa: F401
from material import Bench
from recipe import RECIPES, Recipe

from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Finding, Severity
from telemetry.store.store import Store

SEEDS = (0, 1, 2)
RESULT = "result.json"  # what a run reached, beside its folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What diagnosis said of one run."""

    recipe: str
    seed: int
    verdict: str
    first: str
    layer: str
    step: int | None
    late: bool
    layer_right: bool | None
    others: tuple[str, ...]
    state: str
    n_samples: int
    result: dict[str, float]
    train_s: float
    diagnose_s: float


def run_once(recipe: Recipe, seed: int, folder: Path, options: dict[str, object]) -> Outcome:
    """Train and diagnose one recipe with one seed."""
    torch.manual_seed(seed)
    bench = Bench(seed=seed, store=_store_of(recipe, seed, folder), options=options)
    started = time.perf_counter()
    recipe.build(bench)
    train_s = time.perf_counter() - started
    (bench.store / RESULT).write_text(json.dumps(bench.result))
    return judge_again(recipe, seed, folder, train_s=train_s)


def judge_again(recipe: Recipe, seed: int, folder: Path, *, train_s: float = 0.0) -> Outcome:
    """Diagnose a run that was kept, by the rules as they are now."""
    store = _store_of(recipe, seed, folder)
    started = time.perf_counter()
    opened = Store.open(store)
    diagnosis = diagnose_run(opened, opened.runs()[0])
    diagnose_s = time.perf_counter() - started
    result = json.loads((store / RESULT).read_text())
    return judged(recipe, seed, diagnosis, result, train_s=train_s, diagnose_s=diagnose_s)


def _store_of(recipe: Recipe, seed: int, folder: Path) -> Path:
    return folder / f"{recipe.id}-{seed}"


def judged(
    recipe: Recipe,
    seed: int,
    diagnosis: Diagnosis,
    result: dict[str, float],
    *,
    train_s: float,
    diagnose_s: float,
) -> Outcome:
    """Verdict: is an accepted root found, and nothing else called a root?"""
    serious = [f for f in diagnosis.findings if f.severity is not Severity.INFO]
    roots = [f for f in serious if f.consequence_of is None]
    accepted = [f for f in roots if f.detector in recipe.roots]
    first = accepted[0] if accepted else (roots[0] if roots else None)
    return Outcome(
        recipe=recipe.id,
        seed=seed,
        verdict=_verdict(recipe, serious, roots, accepted),
        first="-" if first is None else first.detector,
        layer="" if first is None else str(first.layer),
        step=None if first is None else first.first_step,
        late=bool(accepted and recipe.by is not None and (first_step(accepted[0]) > recipe.by)),
        layer_right=_layer_right(recipe, accepted),
        others=tuple(
            f"{f.severity[0].upper() if f.severity is not Severity.INFO else 'i'}:{f.detector}"
            + (f"<{f.consequence_of}" if f.consequence_of else "")
            for f in diagnosis.findings
            if f is not first
        ),
        state=diagnosis.state,
        n_samples=diagnosis.n_samples,
        result={name: round(value, 4) for name, value in result.items()},
        train_s=round(train_s, 2),
        diagnose_s=round(diagnose_s, 3),
    )


def first_step(finding: Finding) -> int:
    """First step of a finding; 0 when it has none."""
    return finding.first_step or 0


def _verdict(
    recipe: Recipe,
    serious: Sequence[Finding],
    roots: Sequence[Finding],
    accepted: Sequence[Finding],
) -> str:
    if recipe.healthy:
        return "FALSE ALARM" if serious else "ok"
    if not accepted:
        symptom = any(f.detector in recipe.roots for f in serious)
        return "symptom only" if symptom else ("wrong root" if roots else "MISS")
    if any(f.detector not in recipe.roots for f in roots):
        return "ok, extra root"
    return "ok"


def _layer_right(recipe: Recipe, accepted: Sequence[Finding]) -> bool | None:
    if not recipe.layers or not accepted:
        return None
    layer = str(accepted[0].layer)
    return any(layer == name or layer.startswith(f"{name}.") for name in recipe.layers)


def main() -> None:
    """Run the recipes asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", help="recipes, such as F01 H03a; default all")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--every-step", action="store_true", help="sample every step, no budget")
    parser.add_argument("--out", type=Path, help="write the outcomes as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, to be judged again")
    parser.add_argument("--rerun-rules", type=Path, help="judge the runs of such a folder anew")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options: dict[str, object] = {"every": 1, "overhead_budget": None} if given.every_step else {}
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.ids or sorted(RECIPES):
            for seed in given.seeds:
                if given.rerun_rules:
                    outcome = judge_again(RECIPES[name], seed, given.rerun_rules)
                else:
                    outcome = run_once(RECIPES[name], seed, given.keep or Path(temporary), options)
                outcomes.append(outcome)
                show(outcome)
    summarise(outcomes)
    if given.out:
        given.out.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))


def show(outcome: Outcome) -> None:
    """One line."""
    print(
        f"{outcome.recipe:5} {outcome.seed} {outcome.verdict:15} {outcome.first:22} "
        f"{outcome.layer:14.14} step {outcome.step!s:5} {outcome.state:9} "
        f"{outcome.n_samples:4} samples {outcome.train_s:5.1f}s {outcome.diagnose_s:.2f}s "
        f"{outcome.result} {' '.join(outcome.others)}",
        flush=True,
    )


def summarise(outcomes: Sequence[Outcome]) -> None:
    """Rates over the runs."""
    faults = [o for o in outcomes if not RECIPES[o.recipe].healthy]
    clean = [o for o in outcomes if RECIPES[o.recipe].healthy]
    right = [o for o in faults if o.verdict.startswith("ok")]
    layered = [o for o in faults if o.layer_right is not None]
    print(f"faults: {len(right)} of {len(faults)} right root")
    print(f"  extra roots on {sum(o.verdict == 'ok, extra root' for o in faults)}")
    print(f"  layer right on {sum(bool(o.layer_right) for o in layered)} of {len(layered)}")
    print(f"  late on {sum(o.late for o in faults)}")
    print(f"healthy: {sum(o.verdict != 'ok' for o in clean)} of {len(clean)} with a false alarm")


if __name__ == "__main__":
    main()
