"""What `diagnose` costs for a run of 100,000 rows, in processor time of all threads.

    python benchmarks/diagnose_speed.py [--workload mlp] [--rows 100000] [--store DIR] [--json FILE]

A real training of a thousand steps is recorded, and its rows are repeated, later by as many steps
each time, until there are as many as wanted: 100,000 rows take long to record. The loss of such a
run is a saw, so what is found in it means nothing. A store that is named is kept, and what is in it
is judged again.

Three numbers of each run: `telemetry diagnose` as a process of its own, with the start of the
interpreter and all imports; the first `diagnose_run` of a process that has imported everything; and
later ones of the same process. All are medians of `--repeats`.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

import telemetry
from telemetry.diagnose.detector import all_detectors
from telemetry.format.manifest import Status, read_manifest, write_manifest
from telemetry.format.runs import new_shard_name
from telemetry.format.shards import read_shard, table_folder, write_shard
from telemetry.format.tables import table, table_names
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run

CADENCE = 2  # steps between samples
RECORDED_STEPS = 1_000
REPEATED = ("steps", "tensor_stats", "module_stats")
CHILD_CALLS = 4  # of diagnose_run in one process: the first, and three later ones
NO_FINDINGS = 0
FINDINGS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds, medians: processor time of all threads, and by the clock.

    Attributes:
        workload: What was trained.
        n_rows: Rows of all tables.
        n_shards: Files that hold them.
        command_s: `telemetry diagnose`, from the start of the process to its end.
        first_s: The first `diagnose_run` of a process.
        later_s: A later one of the same process.
        command_clock_s: The command, by the clock.
        first_clock_s: The first call, by the clock.
        later_clock_s: A later call, by the clock.
    """

    workload: str
    n_rows: int
    n_shards: int
    command_s: float
    first_s: float
    later_s: float
    command_clock_s: float
    first_clock_s: float
    later_clock_s: float


def record(store: Path, workload: str, n_rows: int) -> None:
    """A run of a workload with at least so many rows, in a project of its name."""
    from workloads import WORKLOADS

    chosen = WORKLOADS[workload]()
    with telemetry.TelemetryCallback(
        chosen.model,
        chosen.optimizer,
        store=store,
        project=workload,
        every=CADENCE,
        overhead_budget=None,
    ) as callback:
        for _ in range(RECORDED_STEPS):
            callback.step(loss=chosen.step())
    repeat(telemetry.Store.open(store).runs()[0], n_rows)


def repeat(run: Run, n_rows: int) -> None:
    """Write the rows of a run again, later by its steps each time, until there are so many."""
    listing = Listing([run])
    tables = {name: listing.files(name) for name in REPEATED}
    n_recorded = sum(file.n_rows for files in tables.values() for file in files)
    folder, manifest = run.ref.path, read_manifest(run.ref.path)
    n_copies = -(-n_rows // max(n_recorded, 1))
    for name, files in tables.items():
        rows = pa.concat_tables(read_shard(file.path) for file in files) if files else None
        for copy in range(1, n_copies) if rows is not None else ():
            first = copy * RECORDED_STEPS
            place = rows.schema.get_field_index("step")
            later = rows.set_column(
                place, rows.schema.field(place), pc.add(rows.column(place), pa.scalar(first))
            )
            last = first + RECORDED_STEPS - 1
            write_shard(
                table_folder(folder, name, 0),
                table(name),
                later,
                new_shard_name(first=first, last=last, attempt=1),
            )
    summary = {**manifest.summary, "steps": n_copies * RECORDED_STEPS}
    write_manifest(folder, replace(manifest, status=Status.FINISHED, closed=True, summary=summary))


def size_of(run: Run) -> tuple[int, int]:
    """Rows of all tables of a run, and its shards."""
    listing = Listing([run])
    files = [file for name in table_names() for file in listing.files(name)]
    return sum(file.n_rows for file in files), len(files)


def calls(store: Path, selector: str) -> None:
    """In a process of its own: print (processor, clock) seconds of each call as JSON."""
    opened = telemetry.Store.open(store)
    run = opened.select(selector)
    all_detectors()  # imports them
    print(
        json.dumps(
            [seconds(lambda: telemetry.diagnose_run(opened, run)) for _ in range(CHILD_CALLS)]
        )
    )


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Processor time of all threads, and the clock."""
    used_s, now_s = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - used_s, time.perf_counter() - now_s


def child_seconds(command: Sequence[str]) -> tuple[float, float, str]:
    """Processor time of a child process, the clock, and what it printed."""
    before, now_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - ours
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in {NO_FINDINGS, FINDINGS}:
        raise RuntimeError(f"{command} failed: {done.stderr}")
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s, time.perf_counter() - now_s, done.stdout


def measure(store: Path, workload: str, n_repeats: int) -> Cost:
    """The newest run of a workload in a store, judged in fresh processes."""
    run = next(run for run in telemetry.Store.open(store).runs() if run.project == workload)
    n_rows, n_shards = size_of(run)
    command = [sys.executable, "-m", "telemetry", "diagnose", run.run, "--store", str(store)]
    in_process = [sys.executable, __file__, "--store", str(store), "--child", run.run]
    commands = [child_seconds(command) for _ in range(n_repeats)]
    judged = [json.loads(child_seconds(in_process)[2]) for _ in range(n_repeats)]
    later = [call for first, *later in judged for call in later]
    return Cost(
        workload=workload,
        n_rows=n_rows,
        n_shards=n_shards,
        command_s=statistics.median(used_s for used_s, _, _ in commands),
        first_s=statistics.median(first[0] for first, *_ in judged),
        later_s=statistics.median(used_s for used_s, _ in later),
        command_clock_s=statistics.median(clock_s for _, clock_s, _ in commands),
        first_clock_s=statistics.median(first[1] for first, *_ in judged),
        later_clock_s=statistics.median(clock_s for _, clock_s in later),
    )


def machine() -> dict[str, str | int]:
    """What the numbers were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "pyarrow": pa.__version__,
    }


def main() -> None:
    """Record what is missing, measure, print a Markdown table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", action="append", help="mlp, gpt, resnet18; else mlp and gpt")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", type=Path, help="kept and used again; else a temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        calls(options.store, options.child)
        return
    os.environ["TELEMETRY_COMPACT"] = "off"  # nothing is judged beforehand
    print("| workload | rows | shards | `telemetry diagnose` | first call | later calls | clock |")
    print("|---|---|---|---|---|---|---|")
    costs = []
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary)
        for workload in options.workload or ("mlp", "gpt"):
            if not (store / f"project={workload}").exists():
                record(store, workload, options.rows)
            cost = measure(store, workload, options.repeats)
            costs.append(cost)
            clocks = (cost.command_clock_s, cost.first_clock_s, cost.later_clock_s)
            print(
                f"| {workload} | {cost.n_rows} | {cost.n_shards} | {cost.command_s:.2f} s "
                f"| {cost.first_s:.2f} s | {cost.later_s:.2f} s "
                f"| {', '.join(f'{clock_s:.2f}' for clock_s in clocks)} s |",
                flush=True,
            )
    if options.json:
        document = {"machine": machine(), "results": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
