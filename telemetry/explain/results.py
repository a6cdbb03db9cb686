"""Writes what was found out about a model into the folder of its run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from telemetry.errors import StoreUnreadable
from telemetry.explain.evaluation import Evaluation
from telemetry.runs import new_shard_name, parse_shard_name
from telemetry.shards import listed_shards, read_shard, table_folder, write_shard
from telemetry.store.attempts import OUTSIDE_TRAINING
from telemetry.store.locks import run_lock
from telemetry.tables import Table, table

EVALUATIONS = "example_evals"
LOCK_TRIES = 50  # of 0.1 s: whoever else holds the lock writes a small file


def write_evaluation(run: Path, evaluation: Evaluation) -> bool:
    """Keep an evaluation in a run; False when the run has it already.

    Args:
        run: The run folder.
        evaluation: Of one checkpoint on one data set.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    schema = table(EVALUATIONS)
    folder = table_folder(run, EVALUATIONS, 0)
    try:
        with _locked(run):
            shards = listed_shards(folder)
            if evaluation.id in _stored_ids(shards):
                return False
            # Readers take one shard of each range: every evaluation gets a number of its own.
            number = 1 + max((_number(path) for path in shards), default=0)
            name = new_shard_name(first=number, last=number, attempt=OUTSIDE_TRAINING)
            write_shard(folder, schema, _as_table(schema, evaluation.rows), name)
    except OSError as error:
        raise StoreUnreadable(f"{folder}: cannot be written ({error.strerror}).") from error
    return True


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises:
        StoreUnreadable: somebody else holds it for five seconds.
    """
    for _ in range(LOCK_TRIES):
        with run_lock(run) as held:
            if held:
                yield
                return
        time.sleep(0.1)
    raise StoreUnreadable(f"{run}: another process writes into this run; try again.")


def _number(path: Path) -> int:
    name = parse_shard_name(path.name)
    return 0 if name is None else name.last


def _stored_ids(shards: Sequence[Path]) -> set[str]:
    """Ids of the evaluations that can be read."""
    found: set[str] = set()
    for path in shards:
        try:
            column = read_shard(path, ["eval_id"]).column("eval_id")
        except StoreUnreadable:
            continue
        found.update(map(str, column.unique().to_pylist()))
    return found


def _as_table(schema: Table, rows: Sequence[dict[str, object]]) -> pa.Table:
    arrays = [
        pa.array([row.get(column.name) for row in rows], type=column.arrow_type)
        for column in schema.columns
    ]
    return pa.table(arrays, schema=schema.arrow_schema())
