"""How long `sweep_runs` takes over 1,000 runs and ten million rows, apart from the forest.

    python benchmarks/compare/sweep_speed.py [--runs 1000] [--rows 10000] [--store FOLDER]

Each run has `--rows` rows: one step row for each but 200 of them, 100 evaluations of two metrics.
The runs have been diagnosed, as `telemetry sweep` leaves them. The first call in a process pays for
imports; the second and third are also shown. The forest is timed on its own. Each reads the tables:
what a sweep costs that was read before, `benchmarks/many_runs.py` measures.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telemetry.compare.sweep import forest
from telemetry.compare.sweep.sweep import sweep_runs
from telemetry.diagnose.identity import options_hash, rules_version
from telemetry.diagnose.policy import DEFAULT_POLICY
from telemetry.format.manifest import Attempt, Manifest, Status, utc_text, write_manifest
from telemetry.format.runs import new_shard_name, run_folder
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table
from telemetry.json_values import Json
from telemetry.store.runs.findings_cache import store_findings
from telemetry.store.store import Store

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
N_EVALUATIONS = 100
N_TENSORS = 12
METRICS = ("val_loss", "val_accuracy")


def write_run(store: Path, index: int, n_rows: int) -> None:
    """One diagnosed run of a random search."""
    generator = np.random.default_rng(index)
    config: dict[str, Json] = {
        "lr": float(10 ** generator.uniform(-4, 0)),
        "width": int(generator.choice([64, 128, 256])),
        "dropout": float(generator.uniform(0, 0.5)),
        "optimizer": str(generator.choice(["sgd", "adam"])),
        "seed": index,
    }
    run = f"20260102-030405-{index:06x}"
    folder = run_folder(store, "speed", run)
    folder.mkdir(parents=True)
    n_steps = n_rows - N_EVALUATIONS * len(METRICS)
    floor = 0.4 + 0.1 * (np.log10(float(str(config["lr"]))) + 2) ** 2
    losses = floor + 2 * np.exp(-np.arange(n_steps) / (0.2 * n_steps))
    losses += generator.normal(0, 0.05, n_steps)
    steps = np.arange(n_steps)
    files: dict[str, Json] = {}
    files["steps"] = _entries(
        folder,
        "steps",
        {
            "step": steps,
            "wall_time": [START + timedelta(seconds=float(s) / 100) for s in steps],
            "elapsed_s": 0.01 * (steps + 1),
            "loss": losses,
            "lr": np.full(n_steps, float(str(config["lr"]))),
            "step_s": np.full(n_steps, 0.01),
            "flags": np.ones(n_steps, dtype=np.int64),
        },
        n_steps,
    )
    at = np.linspace(0, n_steps - 1, N_EVALUATIONS).astype(np.int64)
    files["metrics"] = _entries(
        folder,
        "metrics",
        {
            "step": np.tile(at, 2),
            "name": np.repeat(METRICS, N_EVALUATIONS).tolist(),
            "phase": ["eval"] * (2 * N_EVALUATIONS),
            "value": np.concatenate([losses[at] + 0.02, 1 - losses[at] / 4]),
        },
        n_steps,
    )
    layers = np.arange(N_TENSORS)
    files["tensors"] = _entries(
        folder,
        "tensors",
        {
            "tensor_id": layers,
            "param_id": layers,
            "name": [f"layers.{layer}.weight" for layer in layers],
            "kind": ["weight"] * N_TENSORS,
            "module": [f"layers.{layer}" for layer in layers],
            "module_id": layers,
            "module_type": ["Linear"] * N_TENSORS,
            "depth": layers,
            "shape": ["[64, 64]"] * N_TENSORS,
            "dtype": ["float32"] * N_TENSORS,
            "n": np.full(N_TENSORS, 4096),
            "fan_in": np.full(N_TENSORS, 64),
            "trainable": [True] * N_TENSORS,
            "sharding": ["replicated"] * N_TENSORS,
        },
        n_steps,
    )
    write_manifest(folder, _manifest(run, config, n_steps, files))


def _entries(
    folder: Path,
    name: str,
    columns: Mapping[str, Sequence[object] | npt.NDArray[np.generic]],
    last: int,
) -> list[Json]:
    """Publish a shard; what the manifest says about the table."""
    schema = table(name)
    n = len(next(iter(columns.values())))
    arrays = {
        column.name: pa.array(
            np.ones(n, dtype=np.int64) if column.name == "attempt" else columns[column.name],
            type=column.arrow_type,
        )
        if column.name in columns or column.name == "attempt"
        else pa.nulls(n, type=column.arrow_type)
        for column in schema.columns
    }
    shard = write_shard(
        table_folder(folder, name, 0),
        schema,
        pa.table(arrays),
        new_shard_name(first=0, last=last, attempt=1),
    )
    entry: Json = {
        "path": str(shard.path.relative_to(folder)),
        "rank": 0,
        "attempt": 1,
        "level": 0,
        "rows": shard.rows,
        "bytes": shard.n_bytes,
        "schema": schema.version,
    }
    return [entry]


def _manifest(run: str, config: dict[str, Json], n_steps: int, files: dict[str, Json]) -> Manifest:
    started, ended = utc_text(START), utc_text(START + timedelta(seconds=n_steps / 100))
    attempt = Attempt(
        attempt=1,
        start_step=0,
        last_step=n_steps - 1,
        started=started,
        ended=ended,
        host="elsewhere",
        boot_id="none",
        pid=1,
        process_start=1,
        writer="synthetic",
        world_size=1,
    )
    return Manifest(
        run=run,
        project="speed",
        name=run[-6:],
        started=started,
        heartbeat=ended,
        status=Status.FINISHED,
        ended=ended,
        config=config,
        attempts=(attempt,),
        closed=True,
        files=files,
        summary={"steps": n_steps},
    )


def keep_diagnoses(store: Path) -> None:
    """An empty diagnosis by the rules of today for each run."""
    for run in Store.open(store).runs():
        store_findings(
            run,
            [],
            detector_version=rules_version(),
            options_hash=options_hash(None, DEFAULT_POLICY),
        )


def timed(store: Path) -> str:
    """Seconds of one call, and of the processor: on a busy machine only the latter say much."""
    shutil.rmtree(store / ".telemetry", ignore_errors=True)  # what the last call has kept
    opened = Store.open(store)
    runs = opened.runs()
    start, used = time.perf_counter(), time.process_time()
    sweep_runs(opened, runs)
    wall, processor = time.perf_counter() - start, time.process_time() - used
    return f"{wall:.2f} s (processor {processor:.2f} s)"


def main() -> None:
    """Write the store where there is none, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=10_000, help="of each run")
    parser.add_argument("--store", type=Path, help="kept and used again; else a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = asked.store or Path(temporary)
        if not (store / "project=speed").exists():
            for index in range(asked.runs):
                write_run(store, index, asked.rows)
        keep_diagnoses(store)
        grown = forest.is_available
        forest.is_available = lambda: False
        times = [timed(store) for _ in range(3)]
        forest.is_available = grown
        with_forest = timed(store)
        print(f"{asked.runs} runs, {asked.runs * asked.rows:.0e} rows")
        print(f"without the forest: {', '.join(times)}")
        print(f"with the forest: {with_forest}")


if __name__ == "__main__":
    main()
