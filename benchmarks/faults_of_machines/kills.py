"""Kill writers and compactions at random moments, and count rows that were lost or doubled.

    python benchmarks/faults_of_machines/kills.py [--kills 300] [--seed 0]

Each round forks a process that records steps and metrics, flushes without pause, and notes after
each flush how far everything is on the disk (the acknowledged step). It is killed after a random
time, while its own child merges shards. Then a compaction is killed after a random time, and one is
let through. After each of the three the store is read by SQL: every acknowledged step must be
there, none twice. Prints one line of totals; the exit code is 1 if a row was lost or doubled.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from telemetry.capture.packet import rows_packet
from telemetry.capture.writer.run_folder import RunSettings
from telemetry.capture.writer.writer import RunWriter
from telemetry.store.catalog import load_run
from telemetry.store.compact import compact_run
from telemetry.store.session import Session

STEPS_A_FLUSH = 7
LONGEST_S = 1.5
COUNTS = """
SELECT
    s.step,
    COUNT(*) AS n_rows
FROM raw_{table} AS s
GROUP BY s.step
"""


def record(store: Path, run: str, acknowledged: Path) -> None:
    """Record until somebody kills this process."""
    settings = RunSettings(
        store=store,
        project="kills",
        name=run,
        config={},
        tags=(),
        total_steps=None,
        environment={},
        run_id=run,
        rank=0,
        world_size=1,
    )
    writer = RunWriter.open(settings)
    file = os.open(acknowledged, os.O_WRONLY | os.O_CREAT)
    step = 0
    while True:
        for _ in range(STEPS_A_FLUSH):
            writer.put(rows_packet("steps", [{"step": step, "loss": 1.0 / (step + 1), "flags": 1}]))
            metric = {"step": step, "name": "val_loss", "phase": "eval", "value": 1.0}
            writer.put(rows_packet("metrics", [metric]))
            writer.mark_step(step)
            step += 1
        if writer.flush(timeout_s=60.0):
            os.pwrite(file, f"{step - 1:12d}".encode(), 0)
            os.fsync(file)


def killed_after(seconds: float, work: Callable[[], object]) -> None:
    """Do something in a process of its own, and kill it after a time."""
    child = os.fork()
    if child == 0:
        with suppress(Exception):
            work()
        os._exit(0)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def faults(folder: Path, last: int) -> Counter[str]:
    """Acknowledged steps that are missing, and steps that are there twice, in both tables."""
    found: Counter[str] = Counter()
    with Session([load_run(folder)]) as session:
        for table in ("steps", "metrics"):
            rows = session.query(COUNTS.format(table=table))
            counts = dict(
                zip(rows.ints("step").tolist(), rows.ints("n_rows").tolist(), strict=True)
            )
            found["lost"] += sum(step not in counts for step in range(last + 1))
            found["doubled"] += sum(count > 1 for count in counts.values())
    return found


def one_round(store: Path, number: int, generator: random.Random) -> Counter[str]:
    """Kill a writer and a compaction of one run, and count."""
    run = f"kill-{number:04d}"
    folder = store / "project=kills" / f"run={run}"
    acknowledged = store / f"{run}.acknowledged"
    killed_after(generator.uniform(0.05, LONGEST_S), lambda: record(store, run, acknowledged))
    if not (folder / "run.json").exists():
        return Counter(too_early=1)
    last = int(acknowledged.read_text() or -1) if acknowledged.exists() else -1
    totals = Counter(rounds=1, acknowledged=last + 1) + faults(folder, last)
    killed_after(generator.uniform(0.0, 0.2), lambda: compact_run(load_run(folder).ref))
    totals += faults(folder, last)
    compact_run(load_run(folder).ref, grace_s=0.0)
    return totals + faults(folder, last)


def main() -> int:
    """Run the series and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = random.Random(given.seed)  # noqa: S311 - moments of death, no secrets
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.kills):
            totals += one_round(Path(folder), number, generator)
        merged = sum(1 for _ in Path(folder).glob("*/*/*/*/*-L[1-9]*.parquet"))
        left = sum(1 for _ in Path(folder).glob("*/*/*/*/.*.part"))
    print(
        f"{totals['rounds']} writers and as many compactions killed "
        f"({totals['too_early']} before their manifest), {totals['acknowledged']} acknowledged "
        f"steps in two tables: {totals['lost']} lost, {totals['doubled']} doubled; "
        f"{merged} merged shards, {left} half written files left"
    )
    return 1 if totals["lost"] or totals["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
