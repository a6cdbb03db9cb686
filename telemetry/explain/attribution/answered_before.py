"""Answers to a whole data set that a run has already, from `evaluate` or an earlier question."""

import math
from collections.abc import Mapping
from pathlib import Path

from telemetry.errors import StoreUnreadable
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.format.shards import listed_shards, read_shard, table_folder

TABLE = "example_evals"
COLUMNS = ["eval_id", "checkpoint", "dataset", "hypothesis", "example_id", "input_digest"]
ANSWER = ["correct", "loss"]

Row = Mapping[str, object]


def answered_before(run: Path, subject: Subject) -> list[Row] | None:
    """Every example as these weights answered it, the largest loss first, NaN before all.

    Args:
        run: The run folder.
        subject: Model and examples.

    Returns:
        Rows of `example_evals`; None: the run has no such evaluation of all examples.
    """
    examples = examples_of(subject)
    wanted = subject.identity, examples.name, ""
    found: dict[object, list[Row]] = {}
    for path in listed_shards(table_folder(run, TABLE, 0)):
        try:
            rows = read_shard(path, [*COLUMNS, *ANSWER]).to_pylist()
        except StoreUnreadable:
            continue
        for row in rows:
            if (row["checkpoint"], row["dataset"], row["hypothesis"]) == wanted:
                found.setdefault(row["eval_id"], []).append(row)
    whole = [rows for rows in found.values() if len(rows) == len(examples)]
    return sorted(whole[-1], key=_order) if whole else None


def _order(row: Row) -> tuple[bool, float]:
    loss = row["loss"]
    known = float(loss) if isinstance(loss, int | float) else math.nan
    return not math.isnan(known), -known
