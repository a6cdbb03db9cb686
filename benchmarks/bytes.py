"""Storage per row of `tensor_stats`, histograms included: on the GPT workload, or in any store.

`python benchmarks/bytes.py` trains the GPT for a few steps and weighs its shards;
`python benchmarks/bytes.py --store DIR` weighs the runs that a store already holds.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from workloads import gpt

from telemetry import TelemetryCallback

N_STEPS = 60
CADENCE = 2


def record_gpt(store: Path) -> None:
    """A run of the GPT with all statistics on each second step."""
    workload = gpt()
    with TelemetryCallback(
        workload.model,
        workload.optimizer,
        store=store,
        project="gpt",
        every=CADENCE,
        overhead_budget=None,
    ) as telemetry:
        for _ in range(N_STEPS):
            telemetry.step(loss=workload.step())


def weigh(store: Path) -> Iterator[tuple[str, str, int, int]]:
    """(project, table, rows, bytes on disk) of every table of every project."""
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for path in sorted(store.rglob("*.parquet")):
        parts = path.relative_to(store).parts
        if not parts[0].startswith("project="):
            continue
        key = (parts[0].removeprefix("project="), parts[2])
        rows, size_bytes = totals.get(key, (0, 0))
        totals[key] = (
            rows + pq.read_metadata(path).num_rows,
            size_bytes + path.stat().st_size,
        )
    for (project, table), (rows, size_bytes) in totals.items():
        yield project, table, rows, size_bytes


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    os.environ["TELEMETRY_COMPACT"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder)
        if options.store is None:
            record_gpt(store)
        print("| project | table | rows | bytes per row |")
        print("|---|---|---|---|")
        for project, table, rows, size_bytes in weigh(store):
            print(f"| {project} | {table} | {rows} | {size_bytes / max(rows, 1):.1f} |")


if __name__ == "__main__":
    main()
