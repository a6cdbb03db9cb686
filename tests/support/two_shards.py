"""A run whose steps lie in two shards, and how to read it while one of them is damaged."""

import json
from pathlib import Path

from synthetic import RunBuilder

from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store

STEPS = "SELECT step, loss FROM steps ORDER BY step"


def run_with_two_shards(store: Path, **options: str) -> Path:
    """Steps 0-4 in one shard and 5-9 in the next."""
    path = RunBuilder(store=store, **options).losses([1.0] * 5).write()
    later = RunBuilder(store=store, **options)
    for step in range(5, 10):
        later.add("steps", step=step, loss=2.0, flags=1)
    later.write()
    return path


def shards(path: Path, table_name: str = "steps") -> list[Path]:
    return sorted((path / table_name / "rank=0").glob("*.parquet"))


def read(store: Path, sql: str = STEPS) -> tuple[Rows, tuple[str, ...]]:
    opened = Store.open(store)
    with opened.session(opened.runs()) as found:
        return found.query(sql), found.warnings


def break_pages(shard: Path) -> None:
    """Zeros instead of every page; the footer stays sound."""
    content = bytearray(shard.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little")
    content[4 : len(content) - footer - 8] = bytes(len(content) - footer - 12)
    shard.write_bytes(content)


def record_files(path: Path) -> None:
    """Give the manifest its list of shards, as the writer does."""
    manifest = json.loads((path / "run.json").read_text())
    manifest["files"] = {
        "steps": [
            {"path": str(shard.relative_to(path)), "schema": 1, "rows": 5} for shard in shards(path)
        ]
    }
    (path / "run.json").write_text(json.dumps(manifest))
