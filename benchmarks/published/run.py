"""Published bugs, with and without what was wrong: `python benchmarks/published/run.py [NAME ...]`.

Trains each case in both versions with the callback's defaults, diagnoses both, and prints one line
a case: what both reached, and what was found in each. `--untold` only trains, without callback and
diagnosis: it says whether the fault hurts. A finding counts at warning or error; what is told as
information is counted apart. `--half tuning` keeps the other half unseen.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import torch
from pool import map_over
from scores import rate

from published.answers import Answer, Evidence, Half, answers, half
from published.case import Reached, Trial
from published.outcome import Outcome, Told, alarms, verdict
from published.registry import CASES
from published.tables import markdown
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.store.store import Store

REACHED = "reached.json"  # of a kept run, beside its store


def trained(name: str, *, fixed: bool, store: Path | None) -> Reached:
    """Train one version; what it reached is kept beside its recording."""
    torch.set_num_threads(1)
    reached = CASES[name].train(Trial(fixed=fixed, store=store)) or Reached()
    if store is not None:
        (store / REACHED).write_text(json.dumps(asdict(reached)))
    return reached


def judged(store: Path) -> tuple[Reached, tuple[Told, ...]]:
    """What a kept run reached, and what the rules of today say of it."""
    opened = Store.open(store)
    diagnosis = diagnose_run(opened, opened.runs()[0])
    findings = tuple(
        Told(detector=f.detector, severity=f.severity.value, consequence_of=f.consequence_of)
        for f in diagnosis.findings
    )
    return Reached(**json.loads((store / REACHED).read_text())), findings


def run_case(name: str, *, folder: Path | None, again: bool) -> Outcome:
    """Both versions; without a folder nothing is recorded, and `again` only judges."""
    started = time.perf_counter()
    if folder is None:
        wrong, fixed = (trained(name, fixed=mended, store=None) for mended in (False, True))
        return Outcome(name=name, wrong=wrong, fixed=fixed, seconds=time.perf_counter() - started)
    stores = {
        mended: folder / f"{name}-{'fixed' if mended else 'wrong'}" for mended in (False, True)
    }
    for mended, store in stores.items():
        if not again:
            store.mkdir(parents=True, exist_ok=True)
            trained(name, fixed=mended, store=store)
    (wrong, told_of_wrong), (fixed, told_of_fixed) = judged(stores[False]), judged(stores[True])
    return Outcome(
        name=name,
        wrong=wrong,
        fixed=fixed,
        told_of_wrong=told_of_wrong,
        told_of_fixed=told_of_fixed,
        seconds=time.perf_counter() - started,
    )


def line(outcome: Outcome, answer: Answer) -> str:
    """One case."""
    return (
        f"{half(answer):9} {outcome.name:28} {verdict(outcome, answer):14} "
        f"{'hurts' if outcome.hurts else 'NO HARM':8} {outcome.wrong.words:14} "
        f"{outcome.fixed.words:14} {outcome.seconds:5.1f}s "
        f"{' '.join(told.words for told in outcome.told_of_wrong)} | fixed "
        f"{'ALARM ' if alarms(outcome, answer) else ''}"
        f"{' '.join(told.words for told in outcome.told_of_fixed)}"
    )


def summarise(outcomes: Sequence[Outcome], known: dict[str, Answer]) -> None:
    """Recall, by kind of evidence too; what is told as information; alarms on mended versions."""
    hurting = [outcome for outcome in outcomes if outcome.hurts]
    print(f"  cases whose fault hurts         {len(hurting)} of {len(outcomes)}")
    print(f"  found                           {_share(hurting, known, {'found'})}")
    for kind in Evidence:
        own = [outcome for outcome in hurting if known[outcome.name].evidence is kind]
        print(f"    by {kind:28} {_share(own, known, {'found'})}")
    able = [outcome for outcome in hurting if known[outcome.name].accepted]
    print(f"  of those a rule is made for     {_share(able, known, {'found'})}")
    print(f"  told as information only        {_share(hurting, known, {'information'})}")
    print(f"  told as a symptom only          {_share(hurting, known, {'symptom'})}")
    print(f"  nothing told                    {_share(hurting, known, {'silent'})}")
    alarmed = rate(bool(alarms(outcome, known[outcome.name])) for outcome in outcomes)
    print(f"  mended versions with an alarm   {alarmed}")


def _share(outcomes: Iterable[Outcome], known: dict[str, Answer], words: set[str]) -> str:
    return rate(verdict(outcome, known[outcome.name]) in words for outcome in outcomes)


def main() -> None:
    """Run the cases asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="cases, such as deepfd-01; default all")
    parser.add_argument("--half", choices=[entry.value for entry in Half], help="only this half")
    parser.add_argument("--untold", action="store_true", help="train only, without the callback")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--out", type=Path, help="write the outcomes as JSON")
    parser.add_argument("--table", type=Path, help="write the table of the cases as Markdown")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, to be judged again")
    parser.add_argument("--rerun-rules", type=Path, help="judge the runs of such a folder anew")
    given = parser.parse_args()
    known = answers()
    if unknown := [name for name in given.names if name not in CASES]:
        parser.error(f"no such case: {' '.join(unknown)}")
    names = [
        name
        for name in given.names or CASES
        if given.half is None or half(known[name]) == given.half
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = None if given.untold else given.rerun_rules or given.keep or Path(temporary)
        work = partial(run_case, folder=folder, again=given.rerun_rules is not None)
        outcomes = []
        for outcome in map_over(work, names, given.jobs):
            print(line(outcome, known[outcome.name]), flush=True)
            outcomes.append(outcome)
    if given.out:
        given.out.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    if given.table:
        given.table.write_text(markdown(outcomes, CASES, known), "utf-8")
    for entry in Half:
        own = [outcome for outcome in outcomes if half(known[outcome.name]) is entry]
        if own and not given.untold:
            print(f"\n{entry} half")
            summarise(own, known)


if __name__ == "__main__":
    main()
