"""Helpers of the tests that write real runs through the capture half's writer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from telemetry.capture.packet import Packet, rows_packet
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.writer.run_folder import RunSettings
from telemetry.format.shards import listed_shards, read_shard, table_folder
from telemetry.json_values import Json


def run_settings(store: Path, **changes: object) -> RunSettings:
    """Settings of a small run; any field may be given."""
    values: dict[str, object] = {
        "store": store,
        "project": "demo",
        "name": "base",
        "config": {"lr": 0.1},
        "tags": ("a",),
        "total_steps": 100,
        "environment": {"python": "3"},
        "run_id": None,
        "rank": 0,
        "world_size": 1,
    }
    return RunSettings(**{**values, **changes})  # type: ignore[arg-type]


def step_rows(steps: range, **values: object) -> Packet:
    """Rows of `steps` with a falling loss."""
    return rows_packet(
        "steps", [{"step": step, "loss": 1 / (step + 1), "flags": 1, **values} for step in steps]
    )


def step_record(step: int, **values: object) -> StepRecord:
    """A record of the ledger with some of its values."""
    record = StepRecord(step)
    for name, value in values.items():
        assert hasattr(record, name)
        setattr(record, name, value)
    return record


def metric_row(step: int, name: str, value: float) -> Packet:
    """One row of `metrics`."""
    return rows_packet("metrics", [{"step": step, "phase": "eval", "name": name, "value": value}])


@dataclass
class TensorPacket:
    """A sample of `n_tensors` tensors as an observer gives it: Arrow tables, made when asked."""

    step: int
    n_tensors: int = 4
    histogram: bool = True
    n_bytes: int = 4096
    columns: Mapping[str, object] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, pa.Table]]:
        """Rows of `tensor_stats`."""
        n = self.n_tensors
        arrays: dict[str, object] = {
            "step": pa.array([self.step] * n, pa.int64()),
            "tensor_id": pa.array(range(n), pa.int64()),
            "param_id": pa.array(range(n), pa.int64()),
            "kind": pa.array(["gradient"] * n),
            "provenance": pa.array(["unscaled"] * n),
            "n": pa.array([10] * n, pa.int64()),
            "n_sampled": pa.array([10] * n, pa.int64()),
            "sumsq": pa.array(np.ones(n)),
        }
        if self.histogram:
            arrays["hist"] = pa.array([b"x" * 64] * n, pa.binary())
            arrays["hist_exp"] = pa.array([0] * n, pa.int32())
        return [("tensor_stats", pa.table({**arrays, **self.columns}))]


def rows_of(run: Path, table: str, rank: int = 0) -> list[dict[str, Json]]:
    """All rows of a table on the disk, in the order of their shards."""
    shards = listed_shards(table_folder(run, table, rank))
    return [row for shard in shards for row in read_shard(shard).to_pylist()]


def steps_of(run: Path, table: str = "steps", rank: int = 0) -> list[int]:
    """Steps of the rows of a table on the disk."""
    return [int(str(row["step"])) for row in rows_of(run, table, rank)]


def shard_ranges(run: Path, table: str, rank: int = 0) -> list[tuple[int, int]]:
    """Ranges of the shards of a table, as their names say."""
    names = [path.name for path in listed_shards(table_folder(run, table, rank))]
    return [(int(name[:12]), int(name[13:25])) for name in names]
