"""How far each limit is from changing its mind: `python benchmarks/faults/margins.py FOLDER ...`.

FOLDER holds runs kept by `run.py --keep` or `random_runs.py --keep`. Each limit of each detector is
moved both ways in steps of bits (shares in log2 of their odds), and the run is judged again: a
healthy run's margin is the least move after which the detector raises an alarm, a faulty run's the
least after which the alarm of an accepted detector is gone. Gates are included, so a margin of
`never` may be owed to one. Prints for each limit how many runs lie how near, and the nearest run;
then the limits that may be doubled and halved without any run noticing.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ["TELEMETRY_COMPACT"] = "off"
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import random_runs
import run as recipe_runs
from pool import map_over
from registry import RECIPES

from telemetry.diagnose.context import RunContext, load_context
from telemetry.diagnose.detector import SHARE, Detector, Limits, all_detectors
from telemetry.diagnose.diagnose import graded
from telemetry.diagnose.finding import Finding, Severity
from telemetry.format.manifest import Status
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store

MOVES = (0.5, 1.0, 2.0, 4.0)  # bits, of the limit or of its odds
DOUBLED = 1.0  # bits, and halved
NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Of one limit on one run: bits to the change of its verdict."""

    detector: str
    limit: str
    run: str
    is_fault: bool
    bits: float


def moved(value: float, bits: float, *, is_share: bool) -> float:
    """A limit moved by bits; a share in the log2 of its odds, so that it stays one."""
    if not is_share:
        return value * 2**bits
    odds = value / max(1 - value, 1e-6) * 2**bits
    return odds / (1 + odds)


def margins_of(store: Path) -> list[Margin]:
    """All limits on one kept run that is healthy, and those of the accepted detectors else."""
    roots, name = _planted(store)
    if roots is None:
        return []
    opened = Store.open(store)
    kept = opened.runs()[0]
    plan = None if kept.manifest is None else kept.manifest.total_steps
    with opened.session([kept]) as session, np.errstate(all="ignore"):
        finished = kept.status is Status.FINISHED
        context = load_context(
            session, kept.run, tags=kept.tags, total_steps=plan, finished=finished
        )
        found = []
        for detector in all_detectors():
            if (roots and detector.id not in roots) or set(detector.needs) - context.available:
                continue
            found += [
                Margin(detector=detector.id, limit=limit, run=name, is_fault=bool(roots), bits=bits)
                for limit, bits in _bits(detector, session, context)
            ]
    return found


def _planted(store: Path) -> tuple[tuple[str, ...] | None, str]:
    """Accepted roots of a kept run and its name; None for a run that does not count."""
    if (store / random_runs.FACTS).exists():
        facts = random_runs.read_facts(store)
        return (facts.planted.roots if facts.counts else None), store.name
    recipe = RECIPES[store.name.rpartition("-")[0]]
    return recipe.roots, store.name


def _bits(detector: Detector, session: Session, context: RunContext) -> Iterator[tuple[str, float]]:
    """Each limit and the least move that changes whether there is an alarm."""
    limits = dict(detector.parameters)
    rows = session.query(detector.sql, detector.bound(context.run, limits))
    now = _alarms(detector, rows, context, limits)
    for name, value in limits.items():
        is_share = detector.allowed(name) is SHARE
        least = NEVER
        for bits in sorted((sign * move for move in MOVES for sign in (-1, 1)), key=abs):
            other: Mapping[str, float] = {**limits, name: moved(value, bits, is_share=is_share)}
            if f"${name}" in detector.sql:
                read = session.query(detector.sql, detector.bound(context.run, other))
            else:
                read = rows
            if _alarms(detector, read, context, other) != now:
                least = abs(bits)
                break
        yield name, least


def _alarms(detector: Detector, rows: Rows, context: RunContext, limits: Limits) -> bool:
    told = graded(detector.judge(rows, context, limits), detector, context, asked=False)
    return isinstance(told, Finding) and told.severity is not Severity.INFO


def main() -> None:
    """Margins of all kept runs of some folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    given = parser.parse_args()
    stores = sorted(
        path.parent
        for folder in given.folders
        for name in (random_runs.FACTS, recipe_runs.RESULT)
        for path in folder.glob(f"*/{name}")
    )
    margins = [m for found in map_over(margins_of, stores, given.jobs) for m in found]
    _show(margins)
    _show_unnoticed(margins)


def _show(margins: list[Margin]) -> None:
    heads = " ".join(f"{f'<= {move:g}':>7}" for move in MOVES)
    print(f"{'limit':46} {'runs':8} {heads} {'never':>7}  nearest")
    keys = sorted({(m.detector, m.limit, m.is_fault) for m in margins})
    for detector, limit, is_fault in keys:
        own = [
            m for m in margins if (m.detector, m.limit, m.is_fault) == (detector, limit, is_fault)
        ]
        counts = " ".join(f"{sum(m.bits == move for m in own):7}" for move in MOVES)
        nearest = min(own, key=lambda m: m.bits)
        told = "" if nearest.bits == NEVER else f"{nearest.run} ({nearest.bits:g})"
        print(
            f"{f'{detector}.{limit}':46} {'faulty' if is_fault else 'healthy':8} {counts} "
            f"{sum(m.bits == NEVER for m in own):7}  {told}"
        )


def _show_unnoticed(margins: list[Margin]) -> None:
    limits = {(m.detector, m.limit) for m in margins}
    noticed = {(m.detector, m.limit) for m in margins if m.bits <= DOUBLED}
    print(f"\n{len(limits - noticed)} of {len(limits)} limits that no run notices within a bit:")
    for detector, limit in sorted(limits - noticed):
        print(f"  {detector}.{limit}")


if __name__ == "__main__":
    main()
