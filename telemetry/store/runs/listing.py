"""Live shards of runs, by listing; what is torn, foreign, missing or newer is named, not read.

The folder listing is the truth. The manifest saves reading footers and tells which shards must be
there; it never adds a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from telemetry.format.runs import RunRef, live_shards, parse_shard_name
from telemetry.format.tables import Table, table, table_names
from telemetry.json_values import Json, json_integer
from telemetry.store.files.folders import RankFolder, rank_folders
from telemetry.store.files.shard_file import (
    Fault,
    ShardFile,
    checked_footer,
    content_fault,
    footer_fault,
    page_fault,
)
from telemetry.store.runs.run import Run


class Listing:
    """Shards of some runs, listed once per table and remembered until `forget`."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self._files: dict[str, tuple[ShardFile, ...]] = {}
        self._excluded: set[Path] = set()
        self._warnings: dict[str, None] = {}
        self._skipped: list[str] = []
        for run in self.runs:
            if run.manifest is None:
                self.warn(f"{run.run}: {run.reason} Its tables are found by listing the folder.")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong so far, in the order it was met, each once."""
        return tuple(self._warnings)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Shards that cannot be read, and why."""
        return tuple(self._skipped)

    def warn(self, message: str) -> None:
        """Add a warning."""
        self._warnings[message] = None

    def _skip(self, path: Path, label: str, reason: str) -> None:
        message = f"{label} skipped: {reason}"
        self._excluded.add(path)
        self._skipped.append(message)
        self.warn(message)

    def files(self, table_name: str) -> tuple[ShardFile, ...]:
        """Live and readable shards of a table over all runs, runs in the given order."""
        if table_name not in self._files:
            found = [file for run in self.runs for file in self._shards(run, table(table_name))]
            self._files[table_name] = tuple(found)
        return self._files[table_name]

    def sound_files(self, table_name: str) -> tuple[ShardFile, ...]:
        """The files of a table without those whose content is not what was written."""
        self._exclude(self.files(table_name), content_fault)
        return self.files(table_name)

    def n_rows(self, table_names: Iterable[str]) -> int:
        """Rows of tables together, from footers and manifests."""
        return sum(file.n_rows for name in table_names for file in self.files(name))

    def forget(self) -> None:
        """List again when asked next; files that were found bad stay excluded."""
        self._files.clear()

    def exclude_unreadable(self, *scans: Fault) -> bool:
        """After a failed read: look for what changed or is torn; True if the files differ now.

        Args:
            scans: Ways to read every page of a shard, tried in turn where no footer explains the
                failure: the engine that failed may be more particular than pyarrow.
        """
        before = dict(self._files)
        self.forget()
        after = {name: self.files(name) for name in before}
        if after != before:
            return True
        files = [file for found in after.values() for file in found]
        return any(self._exclude(files, fault) for fault in (footer_fault, page_fault, *scans))

    def exclude_misfits(self) -> bool:
        """After a statement that cannot be: leave out shards whose columns are of other types.

        The manifest saves reading footers, so that only the statement notices.
        """
        files = [file for found in tuple(self._files.values()) for file in found]
        return self._exclude(files, footer_fault)

    def _exclude(self, files: Sequence[ShardFile], fault: Fault) -> bool:
        reasons = {file: reason for file in files if (reason := fault(file))}
        for file, reason in reasons.items():
            self._skip(file.path, f"{file.run.run}/{file.place}", reason)
        if reasons:
            self.forget()
        return bool(reasons)

    def _shards(self, run: Run, schema: Table) -> list[ShardFile]:
        recorded = _recorded(run, schema.name)
        found = []
        for folder in rank_folders(run.ref, schema.name, self.warn):
            live = live_shards(folder.names)
            self._warn_missing(run, folder, recorded)
            for name in live:
                entry = recorded.get(f"{folder.place}/{name}")
                file = self._shard_file(run.ref, schema, folder, name, entry)
                if file is not None:
                    found.append(file)
        return found

    def _shard_file(
        self,
        run: RunRef,
        schema: Table,
        folder: RankFolder,
        name: str,
        recorded: Mapping[str, Json] | None,
    ) -> ShardFile | None:
        path = folder.path / name
        parsed = parse_shard_name(name)
        if parsed is None or path in self._excluded:
            return None
        known = _recorded_numbers(recorded) if _is_as_long(path, recorded) else None
        if known is None:
            reason, footer = checked_footer(path, schema)
            if footer is None:
                self._skip(path, f"{run.run}/{folder.place}/{name}", reason)
                return None
            known = footer.version, footer.rows
        version, n_rows = known
        if version > schema.version:
            self.warn(
                f"{run.run}/{schema.name} was written by a newer version (schema {version}, "
                f"this version reads {schema.version}): its new columns are not shown."
            )
        return ShardFile(
            run=run,
            table=schema.name,
            rank=folder.rank,
            path=path,
            name=parsed,
            version=version,
            n_rows=n_rows,
            blake2b=str((recorded or {}).get("blake2b") or ""),
        )

    def _warn_missing(
        self, run: Run, folder: RankFolder, recorded: Mapping[str, Mapping[str, Json]]
    ) -> None:
        prefix = f"{folder.place}/"
        expected = {p.removeprefix(prefix) for p in recorded if p.startswith(prefix)}
        live = live_shards({*folder.names, *expected})
        n_missing = len(set(live) - set(folder.names))
        if n_missing:
            self.warn(f"{run.run}/{folder.place}: {n_missing} of {len(live)} shards missing.")


def damage_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """What is wrong with the files of runs, as far as their names and sizes say."""
    listing = Listing(runs)
    for name in table_names():
        listing.files(name)
    return listing.warnings


def _recorded(run: Run, table_name: str) -> dict[str, Mapping[str, Json]]:
    """Entries of the manifest for one table, by path below the run folder."""
    entries = run.manifest.files.get(table_name) if run.manifest else None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return {}
    return {
        str(entry["path"]): entry
        for entry in entries
        if isinstance(entry, Mapping) and "path" in entry
    }


def _is_as_long(path: Path, entry: Mapping[str, Json] | None) -> bool:
    """Whether a shard is as long as when it was recorded: one cut short since has no footer."""
    n_bytes = (entry or {}).get("bytes")
    try:
        return n_bytes is None or path.stat().st_size == n_bytes
    except OSError:  # gone since it was listed
        return False


def _recorded_numbers(entry: Mapping[str, Json] | None) -> tuple[int, int] | None:
    known = entry or {}
    version = json_integer(known.get("schema"), least=1, bits=32)
    n_rows = json_integer(known.get("rows"), least=0)
    return None if version is None or n_rows is None else (version, n_rows)
