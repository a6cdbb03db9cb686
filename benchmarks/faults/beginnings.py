"""What trainings would have been told while they ran, by the runs that `run.py --keep` has kept.

Cuts them off after 25, 50, 100, ... steps, judges each beginning as a live diagnosis would, and
tells as `on_finding` does. A control that is told an error would have been stopped by "stop".

`python benchmarks/faults/beginnings.py FOLDER [ID ...]`
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pyarrow as pa
import pyarrow.compute as pc
from pool import map_over
from registry import RECIPES

from telemetry.capture.isolation.guard import Guard
from telemetry.capture.live.alerts import FindingNews
from telemetry.diagnose.__main__ import live_findings
from telemetry.finding import Severity
from telemetry.format.live_findings import LiveFindings
from telemetry.format.manifest import read_manifest, write_manifest
from telemetry.format.runs import new_shard_name
from telemetry.format.shards import listed_shards, read_shard, table_folder, write_shard
from telemetry.format.tables import table, table_names
from telemetry.store.store import Store

FIRST_STEPS = 25
CATALOGUES = {"tensors", "modules"}  # whole from the first step on


@dataclass(frozen=True, kw_only=True)
class News:
    """Something that a training was told, and after how many steps."""

    detector: str
    severity: Severity
    at: int


def beginnings(n_steps: int) -> Iterator[int]:
    """Numbers of steps, each twice the one before; the last one is all."""
    step = FIRST_STEPS
    while step < n_steps:
        yield step
        step *= 2
    yield n_steps


def cut(run: Path, store: Path, n_steps: int) -> None:
    """Write the beginning of a run as another store."""
    folder = store / run.parent.name / run.name
    for name in table_names():
        shards = listed_shards(table_folder(run, name, 0))
        if name == "findings" or not shards:
            continue
        rows = pa.concat_tables([read_shard(path) for path in shards])
        if name not in CATALOGUES and "step" in rows.column_names:
            rows = rows.filter(pc.less(rows["step"], n_steps))
        if rows.num_rows:
            shard = new_shard_name(first=0, last=n_steps, attempt=1)
            write_shard(table_folder(folder, name, 0), table(name), rows, shard)
    manifest = read_manifest(run)
    summary = {**manifest.summary, "steps": n_steps}
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, replace(manifest, files={}, summary=summary))


def judged(run: Path, n_steps: int) -> LiveFindings:
    """What is found of the beginning of a run."""
    with tempfile.TemporaryDirectory() as temporary:
        cut(run, Path(temporary), n_steps)
        store = Store.open(temporary)
        return live_findings(store, store.runs()[0])


def told(name: str, *, folder: Path) -> tuple[str, int, list[News]]:
    """The name, the number of steps, and what the training of a kept run would have been told."""
    (run,) = (folder / name).glob("project=*/run=*")
    steps = read_manifest(run).summary.get("steps")
    n_steps = steps if isinstance(steps, int) else 0
    news = FindingNews(name, "warn", Guard(strict=True, on_failure=lambda *_: None))
    heard = []
    for step in beginnings(n_steps):
        news.post(judged(run, step))
        heard += [News(detector=f.detector, severity=f.severity, at=step) for f in news.waiting]
        news.waiting.clear()
    return name, n_steps, heard


def names_of(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Kept runs of one training each, by recipe and seed."""
    kept = sorted(path.name for path in folder.iterdir() if path.is_dir())
    alone = [name for name in kept if len(list((folder / name).glob("project=*/run=*"))) == 1]
    return [name for name in alone if not wanted or name.rpartition("-")[0] in wanted]


def main() -> None:
    """Judge the beginnings of all kept runs, or of those of the recipes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids", nargs="*", help="recipes; default all")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    counts = {True: [0, 0, 0], False: [0, 0, 0]}  # healthy: runs, told, told an error
    work = partial(told, folder=given.folder)
    for name, n_steps, heard in map_over(work, names_of(given.folder, given.ids), given.jobs):
        healthy = RECIPES[name.rpartition("-")[0]].healthy
        errors = [entry for entry in heard if entry.severity is Severity.ERROR]
        for place, count in enumerate((1, bool(heard), bool(errors))):
            counts[healthy][place] += count
        texts = [f"{entry.severity[0]} {entry.detector} at {entry.at}" for entry in heard]
        print(f"{name:14} {n_steps:5} steps  {', '.join(texts) or '-'}", flush=True)
    for healthy, (n_runs, n_told, n_errors) in counts.items():
        kind = "controls" if healthy else "faults"
        print(f"{kind}: {n_told} of {n_runs} told something, {n_errors} told an error")


if __name__ == "__main__":
    main()
