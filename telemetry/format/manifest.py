"""`run.json`: what one run is, who writes it, and whether its process is still alive.

The folder listing is the truth about shards; the manifest is what cannot be listed: names, config,
attempts, status. Unknown keys survive a rewrite.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import MANIFEST_NAME, publish_bytes
from telemetry.json_values import (
    Json,
    json_integer,
    json_list,
    json_object,
    json_objects,
    json_text,
)
from telemetry.processes import ProcessIdentity, is_running

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
    """Strict JSON in UTF-8, keys sorted."""
    return json_values.dumps(dict(sorted(document.items())), indent=1).encode()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        StoreUnreadable: missing, too large, not a JSON object of ours, or of a newer format.
    """
    return parse_manifest(read_document(folder), where=str(folder / MANIFEST_NAME))


def read_document(folder: Path) -> dict[str, Json]:
    """The JSON object of `run.json`, whatever it says.

    Raises:
        StoreUnreadable: missing, too large, or not a JSON object.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = json_values.loads(read_regular(path, limit_bytes=SIZE_LIMIT_BYTES))
    except OSError as error:
        raise StoreUnreadable(f"{path}: not a manifest ({error.strerror}).") from error
    except ValueError as error:
        raise StoreUnreadable(f"{path}: not readable as JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise StoreUnreadable(f"{path}: contains a {type(raw).__name__}, expected an object.")
    return raw


def parse_manifest(raw: Mapping[str, Json], *, where: str) -> Manifest:
    """A manifest from its JSON object; `where` names it in errors.

    Only the id must be there. What else is missing or of the wrong kind is not known: a run whose
    name or plan is damaged can still be read, and removed.

    Raises:
        StoreUnreadable: a newer format, or no id of a run.
    """
    version = json_integer(raw.get("format"))
    if version is None or version > FORMAT:
        raise StoreUnreadable(
            f"{where}: format {raw.get('format')!r}, but this version reads format {FORMAT}; "
            "upgrade training-telemetry."
        )
    run, name = json_text(raw.get("run")), json_text(raw.get("name"))
    if run is None:
        raise StoreUnreadable(f"{where}: not a telemetry manifest (it names no run).")
    fields = Manifest.__dataclass_fields__
    return Manifest(
        run=run,
        project=json_text(raw.get("project")) or "",
        name=run if name is None else name,
        started=json_text(raw.get("started")) or "",
        heartbeat=json_text(raw.get("heartbeat")) or "",
        status=_status(raw),
        ended=json_text(raw.get("ended")),
        tags=tuple(tag for tag in json_list(raw.get("tags")) if isinstance(tag, str)),
        config=json_object(raw.get("config")),
        environment=json_object(raw.get("environment")),
        total_steps=_total_steps(raw.get("total_steps")),
        error=json_object(raw.get("error")) or None,
        attempts=_attempts(raw.get("attempts")),
        closed=raw.get("closed") is True,
        files=json_object(raw.get("files")),
        summary=json_object(raw.get("summary")),
        conflict_of=json_text(raw.get("conflict_of")),
        owner=_owner(json_object(raw.get("owner"))),
        extra={k: v for k, v in raw.items() if k not in fields and k not in {"format", "schema"}},
    )


def _fields(record: Attempt | ProcessIdentity) -> dict[str, Json]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _status(raw: Mapping[str, Json]) -> Status:
    """As stored; a run without a known one is taken for running, until its process is looked up."""
    stored = {str(status): status for status in (Status.RUNNING, Status.FINISHED, Status.FAILED)}
    return stored.get(json_text(raw.get("status")) or "", Status.RUNNING)


def _total_steps(value: Json) -> int | None:
    """The plan; earlier versions wrote 1e4 as 10000.0."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return json_integer(whole, least=0)


def _attempts(value: Json) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            attempt=number,
            start_step=json_integer(entry.get("start_step"), least=0) or 0,
            last_step=json_integer(entry.get("last_step"), least=0) or 0,
            started=json_text(entry.get("started")) or "",
            ended=json_text(entry.get("ended")),
            host=json_text(entry.get("host")) or "",
            boot_id=json_text(entry.get("boot_id")) or "",
            pid=json_integer(entry.get("pid"), least=0) or 0,
            process_start=json_integer(entry.get("process_start")) or 0,
            writer=json_text(entry.get("writer")) or "",
            world_size=json_integer(entry.get("world_size"), least=1) or 1,
        )
        for entry in json_objects(value)
        if (number := json_integer(entry.get("attempt"), least=0)) is not None
    )


def _owner(value: Mapping[str, Json]) -> ProcessIdentity | None:
    host, boot_id = json_text(value.get("host")), json_text(value.get("boot_id"))
    pid = json_integer(value.get("pid"), least=0)
    process_start = json_integer(value.get("process_start"))
    if host is None or boot_id is None or pid is None or process_start is None:
        return None
    return ProcessIdentity(host=host, boot_id=boot_id, pid=pid, process_start=process_start)


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
