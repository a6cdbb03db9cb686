"""Kill writers and compactions at random moments, and count rows that were lost or doubled.

    python benchmarks/faults_of_machines/kills.py [--kills 300] [--seed 0]

Each round forks a process that records steps and metrics, flushes without pause, and notes after
each flush how far everything is on the disk (the acknowledged step). It is killed after a random
time, while its own child merges shards. Then a compaction is killed after a random time, and one is
let through. After each of the three the store is read by SQL: every acknowledged step must be
there, none twice. Prints a table by kind of kill; the exit code is 1 if a row was lost or doubled.
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
from telemetry.store.runs.catalog import load_run
from telemetry.store.sessions.session import Session
from telemetry.store.upkeep.compact import compact_run

STEPS_A_FLUSH = 7
LONGEST_S = 1.5
WRITER, COMPACTION, NOTHING = "a writer", "a compaction", "nothing: a compaction ends"
WRONG = ("lost", "doubled")
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


def look(folder: Path, kind: str, last: int) -> Counter[tuple[str, str]]:
    """What is wrong after a kind of kill: acknowledged steps missing, steps there twice."""
    found = Counter({(kind, "looks"): 1, (kind, "acknowledged"): last + 1})
    with Session([load_run(folder)]) as session:
        for table in ("steps", "metrics"):
            rows = session.query(COUNTS.format(table=table))
            counts = dict(
                zip(rows.ints("step").tolist(), rows.ints("n_rows").tolist(), strict=True)
            )
            found[kind, "lost"] += sum(step not in counts for step in range(last + 1))
            found[kind, "doubled"] += sum(count > 1 for count in counts.values())
    return found


def one_round(store: Path, number: int, generator: random.Random) -> Counter[tuple[str, str]]:
    """Kill a writer and a compaction of one run, and count."""
    run = f"kill-{number:04d}"
    folder = store / "project=kills" / f"run={run}"
    acknowledged = store / f"{run}.acknowledged"
    killed_after(generator.uniform(0.05, LONGEST_S), lambda: record(store, run, acknowledged))
    if not (folder / "run.json").exists():
        return Counter({(WRITER, "too early"): 1})
    last = int(acknowledged.read_text() or -1) if acknowledged.exists() else -1
    totals = look(folder, WRITER, last)
    killed_after(generator.uniform(0.0, 0.2), lambda: compact_run(load_run(folder).ref))
    totals += look(folder, COMPACTION, last)
    compact_run(load_run(folder).ref, grace_s=0.0)
    return totals + look(folder, NOTHING, last)


def main() -> int:
    """Run the series and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = random.Random(given.seed)  # noqa: S311 - moments of death, no secrets
    totals: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.kills):
            totals += one_round(Path(folder), number, generator)
        merged = sum(1 for _ in Path(folder).glob("*/*/*/*/*-L[1-9]*.parquet"))
        left = sum(1 for _ in Path(folder).glob("*/*/*/*/.*.part"))
    print(
        "| killed | times | acknowledged steps | lost rows | doubled rows |\n|---|---|---|---|---|"
    )
    for kind in (WRITER, COMPACTION, NOTHING):
        cells = [totals[kind, name] for name in ("looks", "acknowledged", "lost", "doubled")]
        print(f"| {kind} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    print(
        f"{totals[WRITER, 'too early']} writers killed before their manifest; "
        f"{merged} merged shards, {left} half written files left"
    )
    return 1 if any(totals[kind, name] for kind, name in totals if name in WRONG) else 0


if __name__ == "__main__":
    sys.exit(main())
