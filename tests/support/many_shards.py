"""A run whose steps lie in many shards of three, one after the other, as a writer leaves them."""

import json
import os
from pathlib import Path

import pyarrow as pa
from synthetic import RunBuilder
from two_shards import shards

from telemetry.format.runs import new_shard_name
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table


def run_of(store: Path, n_shards: int, *, closed: bool = True) -> Path:
    """A run whose steps lie in shards of three."""
    builder = RunBuilder(store=store).losses([1.0])
    path = builder.write()
    for shard in shards(path):
        shard.unlink()
    for number in range(n_shards):
        steps_shard(path, number)
    document = json.loads((path / "run.json").read_text())
    document["closed"] = closed
    if not closed:
        document |= {"status": "running", "ended": None}
        document["owner"] = None
        document["attempts"][-1]["pid"] = os.getpid()
    (path / "run.json").write_text(json.dumps(document))
    return path


def steps_shard(path: Path, number: int, *, attempt: int = 1) -> None:
    steps = range(3 * number, 3 * number + 3)
    rows = pa.table(
        {
            "step": list(steps),
            "attempt": pa.array([attempt] * 3, pa.int32()),
            "loss": [float("nan") if step == 4 else 1.0 / (step + 1) for step in steps],
            "flags": pa.array([1] * 3, pa.int32()),
        }
    )
    name = new_shard_name(first=steps[0], last=steps[-1], attempt=attempt)
    write_shard(table_folder(path, "steps", 0), table("steps"), rows, name)
