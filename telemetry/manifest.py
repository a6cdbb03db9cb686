"""`run.json`: what one run is, who writes it, and whether its process is still alive.

The folder listing is the truth about shards; the manifest is what cannot be listed: names, config,
attempts, status. Unknown keys survive a rewrite.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from telemetry import json_values
from telemetry.errors import StoreUnreadable
from telemetry.json_values import Json
from telemetry.runs import MANIFEST_NAME, publish_bytes

FORMAT = 1
SIZE_LIMIT_BYTES = 8 * 1024 * 1024
HEARTBEAT_INTERVAL_S = 30.0
KILLED_AFTER_INTERVALS = 5  # on another host, where the process cannot be looked up
STALE_AFTER_INTERVALS = 2


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
    notes: str = ""
    config: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, Json] = field(default_factory=dict)
    total_steps: int | None = None
    error: Mapping[str, Json] | None = None
    attempts: tuple[Attempt, ...] = ()
    sampling: Mapping[str, Json] = field(default_factory=dict)
    closed: bool = False
    files: Mapping[str, Json] = field(default_factory=dict)
    summary: Mapping[str, Json] = field(default_factory=dict)
    conflict_of: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The document as written, unknown keys of earlier writers included."""
        known: dict[str, Json] = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"extra", "attempts"}
        }
        attempts = [
            {name: getattr(attempt, name) for name in Attempt.__dataclass_fields__}
            for attempt in self.attempts
        ]
        return {**self.extra, **known, "attempts": attempts, "format": FORMAT, "schema": 1}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace `run.json` of a run folder atomically."""
    text = json_values.dumps(dict(sorted(manifest.to_json().items())), indent=1)
    publish_bytes(folder / MANIFEST_NAME, text.encode())


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
    except (OSError, ValueError) as error:
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
    known = {name: raw[name] for name in fields if name in raw and name != "extra"}
    extra = {k: v for k, v in raw.items() if k not in fields and k not in {"format", "schema"}}
    try:
        attempts = _attempts(raw.get("attempts", []))
        status = Status(str(raw.get("status")))
        tags = raw.get("tags")
        manifest = Manifest(**{**known, "extra": extra})  # type: ignore[arg-type]
        return replace(
            manifest,
            attempts=attempts,
            status=status,
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
            config=_mapping(raw.get("config")),
            environment=_mapping(raw.get("environment")),
            summary=_mapping(raw.get("summary")),
            sampling=_mapping(raw.get("sampling")),
            files=_mapping(raw.get("files")),
        )
    except (TypeError, ValueError) as error:
        raise StoreUnreadable(f"{where}: not a manifest of telemetry ({error}).") from error


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _attempts(value: Json) -> tuple[Attempt, ...]:
    if not isinstance(value, list):
        raise TypeError(f"attempts is {type(value).__name__}, expected a list")
    known = set(Attempt.__dataclass_fields__)
    return tuple(
        Attempt(**{k: v for k, v in entry.items() if k in known})
        for entry in value
        if isinstance(entry, dict)
    )


def utc_now() -> str:
    """Now, as the manifests write it."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """ISO-8601 in UTC with microseconds and a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def host_name() -> str:
    """Name of this host, as attempts record it."""
    return socket.gethostname()


def boot_id() -> str:
    """Identity of this boot of the kernel; '' where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def process_start(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if it is gone or cannot be told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def is_alive(attempt: Attempt) -> bool | None:
    """Whether the process of an attempt lives; None where that cannot be looked up from here."""
    if attempt.host != host_name() or attempt.boot_id != boot_id():
        return None
    if attempt.process_start:
        return process_start(attempt.pid) == attempt.process_start
    try:
        os.kill(attempt.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def heartbeat_age_s(manifest: Manifest, *, now: datetime) -> float:
    """Seconds since the last heartbeat; negative when the writer's clock is ahead."""
    try:
        heartbeat = datetime.fromisoformat(manifest.heartbeat)
    except ValueError:
        return float("inf")
    return (now - heartbeat).total_seconds()


def inferred_status(manifest: Manifest, *, now: datetime) -> Status:
    """The stored status, or `killed` for a running run whose process is gone."""
    if manifest.status is not Status.RUNNING or not manifest.attempts:
        return manifest.status
    alive = is_alive(manifest.attempts[-1])
    if alive is None:
        limit_s = KILLED_AFTER_INTERVALS * HEARTBEAT_INTERVAL_S
        alive = heartbeat_age_s(manifest, now=now) <= limit_s
    return Status.RUNNING if alive else Status.KILLED
