"""Stored diagnoses: rows of table `findings`, valid while the run and the rules are the same.

A cache and nothing more: it works on plain rows, never fails a query, and may be deleted.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Status, is_over, read_manifest, write_manifest
from telemetry.format.runs import RunRef, live_shards, new_shard_name, parse_shard_name
from telemetry.format.shards import read_shard, table_folder, write_shard
from telemetry.format.tables import table
from telemetry.json_values import Json
from telemetry.store.files.folders import rank_folders
from telemetry.store.files.locks import run_lock
from telemetry.store.runs.attempts import OUTSIDE_TRAINING, training_tables
from telemetry.store.runs.run import Run

FINDINGS = "findings"
KEPT_SETS = 8  # of one run: other options and other rules alternate
SEVERITIES = ("error", "warning", "info")
_JSON_COLUMNS = ("layers", "evidence")
_KEY_COLUMNS = ("detector_version", "options_hash", "input_hash")

logger = logging.getLogger(__name__)


def input_hash(run: RunRef) -> str:
    """Hash of the live file names of the tables that training wrote; compaction changes it too."""
    there = set(_folders(run.path))  # most tables of most runs are not
    names = sorted(
        f"{folder.place}/{name}"
        for table_name in training_tables()
        if table_name in there
        for folder in rank_folders(run, table_name, logger.debug)
        for name in live_shards(folder.names)
    )
    return hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest()


def _folders(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except OSError:
        return []


def newest_findings(run: RunRef) -> Path | None:
    """The file of the newest stored diagnosis."""
    stored = _stored(run)
    return stored[0] if stored else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDiagnosis:
    """What is kept of a diagnosis that holds.

    Attributes:
        rows: Findings as in `diagnose --json` (`layers` and `evidence` parsed), sorted by detector.
        is_newest: Whether it was stored last, so that the views show it.
        outcomes: What else it says, as it was given; None where nothing was.
    """

    rows: list[dict[str, Json]]
    is_newest: bool
    outcomes: Mapping[str, Json] | None = None


def read_findings(run: Run, *, detector_version: str, options_hash: str) -> StoredDiagnosis | None:
    """The stored findings of a run; None where none were made by these rules from its files.

    Args:
        run: The run.
        detector_version: Version of the rules that would be applied now.
        options_hash: Hash of the thresholds and options that would be applied now.
    """
    stored = _stored(run.ref)
    if not stored:
        return None
    wanted = (detector_version, options_hash, input_hash(run.ref))
    for path in stored:
        rows = _rows_made_by(path, wanted)
        if rows is not None:
            parsed = [_parsed(row) for row in rows]
            outcomes = next((row["evidence"] for row in parsed if not row["detector"]), None)
            return StoredDiagnosis(
                rows=[row for row in parsed if row["detector"]],
                is_newest=path == stored[0],
                outcomes=outcomes if isinstance(outcomes, Mapping) else None,
            )
    return None


def _rows_made_by(path: Path, wanted: tuple[str, str, str]) -> list[dict[str, Json]] | None:
    """Rows of a stored diagnosis; None if it is another's, or cannot be read."""
    try:
        rows = read_shard(path).to_pylist()
    except StoreUnreadable as error:
        logger.debug("%s", error)
        return None
    fits = rows and all(tuple(row[key] for key in _KEY_COLUMNS) == wanted for row in rows)
    return rows if fits else None


def store_findings(
    run: Run,
    rows: Sequence[Mapping[str, Json]],
    *,
    detector_version: str,
    options_hash: str,
    outcomes: Mapping[str, Json] | None = None,
) -> bool:
    """Keep a diagnosis and its counts in run.json; False when this run or disk does not take it.

    Args:
        run: The run that was diagnosed.
        rows: Findings as in `diagnose --json`, such as `Finding.to_json()` gives.
        detector_version: Version of the rules that were applied.
        options_hash: Hash of the thresholds and options.
        outcomes: What else the diagnosis says; None: nothing that is to be kept.
    """
    if run.manifest is None or run.status is Status.RUNNING:
        return False
    keys = (detector_version, options_hash, input_hash(run.ref))
    try:
        with run_lock(run.ref.path) as held:
            if not held:
                return False
            _write(run.ref, rows, keys, outcomes)
            _write_counts(run.ref.path, rows, options_hash)
    except (OSError, StoreUnreadable) as error:
        logger.debug("the findings of %s were not stored: %s", run.run, error)
        return False
    return True


def _stored(run: RunRef) -> list[Path]:
    """Files of stored diagnoses, newest first."""
    return [
        folder.path / name
        for folder in rank_folders(run, FINDINGS, logger.debug)
        for name in sorted(live_shards(folder.names), reverse=True)
    ]


def _write(
    run: RunRef,
    rows: Sequence[Mapping[str, Json]],
    keys: tuple[str, str, str],
    outcomes: Mapping[str, Json] | None,
) -> None:
    schema = table(FINDINGS)
    marker: dict[str, Json] = {"detector": "", "severity": "info", "evidence": outcomes}
    has_marker = outcomes is not None or not rows
    cells = [_cells(row) for row in (*([marker] if has_marker else []), *rows)]
    stamped = [{**row, **dict(zip(_KEY_COLUMNS, keys, strict=True))} for row in cells]
    arrays = [
        pa.array([row.get(column.name) for row in stamped], type=column.arrow_type)
        for column in schema.columns
    ]
    stored = _stored(run)
    newest = parse_shard_name(stored[0].name) if stored else None
    number = newest.last + 1 if newest else 1
    # Who judges the same run again and again does not fill the disk with the same answer.
    made_before = [path for path in stored[:1] if _rows_made_by(path, keys) is not None]
    write_shard(
        table_folder(run.path, FINDINGS, 0),
        schema,
        pa.table(arrays, schema=schema.arrow_schema()),
        new_shard_name(first=number, last=number, attempt=OUTSIDE_TRAINING),
    )
    for path in (*made_before, *stored[KEPT_SETS - 1 :]):
        path.unlink(missing_ok=True)


def _cells(row: Mapping[str, Json]) -> dict[str, Json]:
    nested = {name: row[name] for name in _JSON_COLUMNS if row.get(name) is not None}
    return {**row, **{name: json_values.dumps(value) for name, value in nested.items()}}


def _parsed(row: Mapping[str, Json]) -> dict[str, Json]:
    return {
        name: json.loads(str(value)) if name in _JSON_COLUMNS and value is not None else value
        for name, value in row.items()
        if name not in _KEY_COLUMNS
    }


def _write_counts(folder: Path, rows: Sequence[Mapping[str, Json]], options_hash: str) -> None:
    """Counts in run.json and what was asked for, where no training process writes it any more."""
    manifest = read_manifest(folder)
    if not is_over(manifest):
        return
    counts: dict[str, Json] = {
        severity: sum(row.get("severity") == severity for row in rows) for severity in SEVERITIES
    }
    found: dict[str, Json] = {"findings": counts, "findings_options": options_hash}
    write_manifest(folder, replace(manifest, summary={**manifest.summary, **found}))
