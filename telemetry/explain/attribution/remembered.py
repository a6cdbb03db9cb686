"""What a run knows of a method under some weights: it was asked of an earlier input."""

import json
from pathlib import Path

from telemetry.errors import StoreUnreadable
from telemetry.explain.models.subject import Subject
from telemetry.explain.results.check import Check, MethodCheck
from telemetry.format.shards import listed_shards, read_shard, table_folder
from telemetry.requests.explain.input import KIND

COLUMNS = ["checkpoint", "method", "method_check"]


def remember(subject: Subject, run: Path, method: str) -> None:
    """Take over the check of a method that an earlier answer of the run holds, if there is one.

    Args:
        subject: Whose `method_checks` get it.
        run: The run folder.
        method: Which.
    """
    key = subject.identity, method
    for path in listed_shards(table_folder(run, KIND.table, 0)):
        try:
            rows = read_shard(path, COLUMNS).to_pylist()
        except StoreUnreadable:
            continue
        for row in rows:
            if (row["checkpoint"], row["method"]) == key and row["method_check"]:
                found = _read(str(row["method_check"]))
                if found is not None:
                    subject.method_checks.setdefault(key, found)


def _read(text: str) -> MethodCheck | None:
    """The check as a row holds it; None: it holds none."""
    try:
        stored = json.loads(text)
        check = Check(
            name=str(stored["name"]),
            value=float(stored["value"]),
            threshold=float(stored["threshold"]),
            ok=bool(stored["ok"]),
            meaning=str(stored["meaning"]),
        )
        return MethodCheck(check=check, example_id=str(stored["example_id"]))
    except (KeyError, TypeError, ValueError):
        return None
