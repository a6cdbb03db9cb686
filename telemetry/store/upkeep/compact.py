"""`python -m telemetry.store.upkeep.compact RUN_FOLDER`: merge the shards of a run, silently.

Started at low priority by the training that records the run whenever a level is full. `compact_run`
is the same for `telemetry compact` and for the process that judges a run after its end.
"""

import argparse
import hashlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.format.manifest import Manifest, is_over, read_manifest, write_manifest
from telemetry.format.runs import RunRef
from telemetry.format.shards import DIGEST_BYTES, sweep_parts
from telemetry.json_values import Json
from telemetry.store.files.locks import run_lock
from telemetry.store.files.shard_file import ShardFile
from telemetry.store.runs.attempts import training_tables
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.listing import Listing
from telemetry.store.upkeep.compaction import (
    GRACE_S,
    Merged,
    live_sizes,
    merge_shards,
    remove_replaced,
    sweep_merged_parts,
)

logger = logging.getLogger(__name__)

PART_AGE_S = 3600.0  # a younger one may be in the making


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What became of one run.

    Attributes:
        before: Bytes of each live shard that training has written, before.
        after: The same afterwards.
        merged: What was done.
        reason: Why nothing was done; '' where the run was looked at.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    merged: Merged = field(default_factory=Merged)
    reason: str = ""


def compact_run(
    ref: RunRef, *, clock: Callable[[], float] = time.time, grace_s: float = GRACE_S
) -> Compaction:
    """Merge the shards of a run: everything where nobody writes it any more, else full levels.

    Args:
        ref: The run.
        clock: Seconds since the epoch.
        grace_s: How long a replaced file stays for those who have listed it.

    Raises:
        StoreUnreadable: the run has no readable manifest, so that nobody knows who writes it.
        OSError: the disk refuses; what was merged before stays.
    """
    manifest = read_manifest(ref.path)
    before = live_sizes(ref)
    with run_lock(ref.path) as held:
        if not held:
            return Compaction(
                before=before, after=before, reason=("another process is compacting it")
            )
        sweep_parts(ref.path, older_than_s=PART_AGE_S, now_s=clock())
        sweep_merged_parts(ref)
        merged = merge_shards(ref, is_over=is_over(manifest))
        merged += remove_replaced(ref, now_s=clock(), grace_s=grace_s)
        if merged.n_outputs:
            _write_files(ref.path)
    return Compaction(before=before, after=live_sizes(ref), merged=merged)


def remove_old_inputs(ref: RunRef, *, now_s: float) -> None:
    """Remove what was replaced longer than the grace ago, unless somebody else is at it."""
    with suppress(OSError), run_lock(ref.path) as held:
        if held:
            remove_replaced(ref, now_s=now_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge the shards of one run folder; the exit code is that of the error, or 0."""
    parser = argparse.ArgumentParser(
        prog="python -m telemetry.store.upkeep.compact", description=__doc__
    )
    parser.add_argument("run", type=Path, help="folder of one run: STORE/project=P/run=ID")
    folder = parser.parse_args(arguments).run.resolve()
    try:
        compact_run(load_run(folder).ref)
    except (TelemetryError, OSError) as error:
        logger.debug("%s", error)
        return error.exit_code if isinstance(error, TelemetryError) else 2
    return 0


def _write_files(folder: Path) -> None:
    """Name the merged shards in run.json, where no training process writes it any more."""
    listing = Listing([load_run(folder)])
    files = [file for name in training_tables() for file in listing.files(name)]
    try:
        manifest = read_manifest(folder)
    except StoreUnreadable as error:
        logger.debug("%s", error)
        return
    if is_over(manifest):
        write_manifest(folder, replace(manifest, files=_entries(manifest, files)))


def _entries(manifest: Manifest, files: Sequence[ShardFile]) -> dict[str, Json]:
    """Entries of the manifest: of tables that training does not write as they were."""
    written = set(training_tables())
    kept = {name: entries for name, entries in manifest.files.items() if name not in written}
    found: dict[str, list[Json]] = {}
    for file in files:
        entry: dict[str, Json] = {
            "path": file.place,
            "rank": file.rank,
            "attempt": file.name.attempt,
            "level": file.name.level,
            "rows": file.n_rows,
            "bytes": len(content := file.path.read_bytes()),
            "schema": file.version,
            "blake2b": hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest(),
        }
        found.setdefault(file.table, []).append(entry)
    return {**kept, **found}


if __name__ == "__main__":
    sys.exit(main())
