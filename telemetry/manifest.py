"""`run.json`: what one run is, who writes it, and whether its process is still alive.

The folder listing is the truth about shards; the manifest is what cannot be listed: names, config,
attempts, status. Unknown keys survive a rewrite.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.json_values import Json
from telemetry.processes import ProcessIdentity, is_running
from telemetry.runs import MANIFEST_NAME, publish_bytes

FORMAT = 1
SIZE_LIMIT_BYTES = 8 * 1024 * 1024
HEARTBEAT_INTERVAL_S = 30.0
KILLED_AFTER_INTERVALS = 5  # on another host, where the process cannot be looked up
STALE_AFTER_INTERVALS = 2
CLOCK_SKEW_LIMIT_S = 60.0


class Status(StrEnum):
    """State of a run; `killed` is inferred, never stored."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One process life of a run."""

    attempt: int
    start_step: int
    last_step: int
    started: str
    ended: str | None
    host: str
    boot_id: str
    pid: int
    process_start: int
    writer: str
    world_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of run.json; times are ISO-8601 in UTC, `config` is flat with dotted keys."""

    run: str
    project: str
    name: str
    started: str
    heartbeat: str
    status: Status = Status.RUNNING
    ended: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, Json] = field(default_factory=dict)
    total_steps: int | None = None
    error: Mapping[str, Json] | None = None
    attempts: tuple[Attempt, ...] = ()
    closed: bool = False
    files: Mapping[str, Json] = field(default_factory=dict)
    summary: Mapping[str, Json] = field(default_factory=dict)
    conflict_of: str | None = None
    owner: ProcessIdentity | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The document as written, unknown keys of earlier writers included."""
        known: dict[str, Json] = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"extra", "attempts", "owner"}
        }
        attempts = [_fields(attempt) for attempt in self.attempts]
        owner = None if self.owner is None else _fields(self.owner)
        return {
            **self.extra,
            **known,
            "attempts": attempts,
            "owner": owner,
            "format": FORMAT,
            "schema": 1,
        }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace `run.json` of a run folder atomically."""
    publish_json(folder / MANIFEST_NAME, manifest.to_json())


def publish_json(path: Path, document: Mapping[str, Json]) -> None:
    """Replace a small JSON file atomically.

    Raises:
        OSError: the disk refuses; the previous file is untouched then.
    """
    publish_bytes(path, encoded(document))


def encoded(document: Mapping[str, Json]) -> bytes:
    """Strict JSON in UTF-8, keys sorted.

    A lone surrogate (of a command line of undecodable bytes) becomes the JSON escape of itself.
    """
    text = json_values.dumps(dict(sorted(document.items())), indent=1)
    return text.encode("utf-8", "backslashreplace")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        StoreUnreadable: missing, too large, not a JSON object of ours, or of a newer format.
    """
    path = folder / MANIFEST_NAME
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise StoreUnreadable(f"{path}: larger than 8 MiB; not a manifest of telemetry.")
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreUnreadable(f"{path}: not readable as JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise StoreUnreadable(f"{path}: holds a {type(raw).__name__}, expected an object.")
    return parse_manifest(raw, where=str(path))


def parse_manifest(raw: Mapping[str, Json], *, where: str) -> Manifest:
    """A manifest from its JSON object; `where` names it in errors.

    Raises:
        StoreUnreadable: a newer format, or a key is missing or of the wrong kind.
    """
    version = raw.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise StoreUnreadable(
            f"{where}: format {version!r}, this version reads {FORMAT}; upgrade training-telemetry."
        )
    fields = Manifest.__dataclass_fields__
    extra = {k: v for k, v in raw.items() if k not in fields and k not in {"format", "schema"}}
    try:
        return Manifest(
            run=_text(raw, "run"),
            project=_text(raw, "project"),
            name=_text(raw, "name"),
            started=_text(raw, "started"),
            heartbeat=_text(raw, "heartbeat"),
            status=Status(str(raw.get("status"))),
            ended=_optional_text(raw, "ended"),
            tags=_texts(raw.get("tags")),
            config=_mapping(raw.get("config")),
            environment=_mapping(raw.get("environment")),
            total_steps=_optional_int(raw, "total_steps"),
            error=_mapping(raw.get("error")) or None,
            attempts=_attempts(raw.get("attempts", [])),
            closed=raw.get("closed") is True,
            files=_mapping(raw.get("files")),
            summary=_mapping(raw.get("summary")),
            conflict_of=_optional_text(raw, "conflict_of"),
            owner=_owner(raw.get("owner")),
            extra=extra,
        )
    except (TypeError, ValueError) as error:
        raise StoreUnreadable(f"{where}: not a manifest of telemetry ({error}).") from error


def _fields(record: Attempt | ProcessIdentity) -> dict[str, Json]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _text(raw: Mapping[str, Json], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise TypeError(f"{key} is {type(value).__name__}, expected text")
    return value


def _optional_text(raw: Mapping[str, Json], key: str) -> str | None:
    return None if raw.get(key) is None else _text(raw, key)


def _optional_int(raw: Mapping[str, Json], key: str) -> int | None:
    value = raw.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(f"{key} is {type(value).__name__}, expected an integer")
    return value


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(entry) for entry in value) if isinstance(value, list) else ()


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _attempts(value: Json) -> tuple[Attempt, ...]:
    if not isinstance(value, list):
        raise TypeError(f"attempts is {type(value).__name__}, expected a list")
    entries = [entry for entry in value if isinstance(entry, dict)]
    return tuple(
        Attempt(
            attempt=_integer(entry, "attempt"),
            start_step=_integer(entry, "start_step"),
            last_step=_integer(entry, "last_step"),
            started=_text(entry, "started"),
            ended=_optional_text(entry, "ended"),
            host=_text(entry, "host"),
            boot_id=_text(entry, "boot_id"),
            pid=_integer(entry, "pid"),
            process_start=_integer(entry, "process_start"),
            writer=_optional_text(entry, "writer") or "",
            world_size=_optional_int(entry, "world_size") or 1,
        )
        for entry in entries
    )


def _integer(raw: Mapping[str, Json], key: str) -> int:
    value = _optional_int(raw, key)
    if value is None:
        raise TypeError(f"{key} is missing, expected an integer")
    return value


def _owner(value: Json) -> ProcessIdentity | None:
    if not isinstance(value, Mapping):
        return None
    return ProcessIdentity(
        host=_text(value, "host"),
        boot_id=_text(value, "boot_id"),
        pid=_integer(value, "pid"),
        process_start=_integer(value, "process_start"),
    )


def utc_now() -> str:
    """Now, as the manifests write it."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """ISO-8601 in UTC with microseconds and a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def writer_of(manifest: Manifest) -> Attempt | ProcessIdentity | None:
    """The process that writes a run, or did last; None when nobody is known to have.

    Until its first step, a resumed run has a new owner, but the attempt of an old one.
    """
    return manifest.owner or (manifest.attempts[-1] if manifest.attempts else None)


def is_alive(attempt: Attempt | ProcessIdentity) -> bool | None:
    """Whether the process of an attempt lives; None where that cannot be looked up from here."""
    return is_running(
        ProcessIdentity(
            host=attempt.host,
            boot_id=attempt.boot_id,
            pid=attempt.pid,
            process_start=attempt.process_start,
        )
    )


def is_over(manifest: Manifest) -> bool:
    """Whether nobody writes the run any more: closed, or its process of this host is gone.

    On another host a writer that is silent may come back.
    """
    if manifest.closed:
        return True
    writer = writer_of(manifest)
    return writer is not None and is_alive(writer) is False


def heartbeat_age_s(
    manifest: Manifest, *, now: datetime, modified: datetime | None = None
) -> float:
    """Seconds since the last heartbeat; negative when the writer's clock is ahead.

    Args:
        manifest: Of the run.
        now: Time of the reader.
        modified: When the file was written by the file system's clock: what counts instead of a
            heartbeat that lies more than a minute in the future.
    """
    try:
        age_s = (now - datetime.fromisoformat(manifest.heartbeat)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
    if age_s < -CLOCK_SKEW_LIMIT_S and modified is not None:
        return (now - modified).total_seconds()
    return age_s


def inferred_status(
    manifest: Manifest, *, now: datetime, modified: datetime | None = None
) -> Status:
    """The stored status, or `killed` for a running run whose process is gone.

    Args:
        manifest: Of the run.
        now: Time of the reader.
        modified: See `heartbeat_age_s`.
    """
    if manifest.status is not Status.RUNNING:
        return manifest.status
    writer = writer_of(manifest)
    alive = None if writer is None else is_alive(writer)
    if alive is None:
        limit_s = KILLED_AFTER_INTERVALS * HEARTBEAT_INTERVAL_S
        alive = heartbeat_age_s(manifest, now=now, modified=modified) <= limit_s
    return Status.RUNNING if alive else Status.KILLED
