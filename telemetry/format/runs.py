"""Names: run ids, project folders, shard files, and where a run lies in a store."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from telemetry.errors import UsageError

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SHORT_ID_LENGTH = 6
MIN_PREFIX = 4  # characters of an id; fewer fit by chance
CROCKFORD_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
DEFAULT_STORE = "telemetry-runs"
MANIFEST_NAME = "run.json"
RUN_ID_VARIABLE = "TELEMETRY_RUN_ID"
FILE_MODE = 0o640  # and the umask: what a run records is the user's own

# `C:` of Windows is one letter. A Path has made one slash of two.
_SCHEME_PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

_CLAIM_PATTERN = re.compile(r"\.attempt-(\d{4,})\.rank-(\d{1,9})")
_SHARD_PATTERN = re.compile(r"(\d{12})-(\d{12})-L(\d{1,2})-([0-9a-f]{4})([0-9a-f]{12})\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRef:
    """Where one run lies: `<store>/project=<project>/run=<run>`."""

    project: str
    run: str
    path: Path

    @property
    def short(self) -> str:
        """The last six characters of a generated id; what the screens show."""
        return self.run[-SHORT_ID_LENGTH:]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """The parts of `<first>-<last>-L<level>-<uuid>.parquet`; steps are optimizer steps."""

    first: int
    last: int
    level: int
    attempt: int
    token: str

    def __str__(self) -> str:
        return (
            f"{self.first:012d}-{self.last:012d}-L{self.level}-"
            f"{self.attempt:04x}{self.token}.parquet"
        )


def local_folder(store: str | os.PathLike[str]) -> Path:
    """The folder of a store.

    Raises:
        UsageError: it is an address such as `s3://bucket`, which as a folder would be `./s3:`.
    """
    text = os.fspath(store)
    scheme = _SCHEME_PATTERN.match(text)
    if scheme:
        raise UsageError(
            f"store {text!r}: a store must be a folder, and {scheme[1]} addresses are not "
            "supported; name a folder on this machine or on a mounted file system."
        )
    return Path(text)


def begins_id(run: str, text: str) -> bool:
    """Whether a text is enough of the beginning of an id, or of its short id."""
    short = run[-SHORT_ID_LENGTH:]
    return len(text) >= MIN_PREFIX and (run.startswith(text) or short.startswith(text))


def new_run_id(now: datetime) -> str:
    """`YYYYMMDD-HHMMSS-<6 characters of Crockford base32>`; the random part is not torch's."""
    token = "".join(secrets.choice(CROCKFORD_BASE32) for _ in range(SHORT_ID_LENGTH))
    return f"{now:%Y%m%d-%H%M%S}-{token}"


def start_in_id(run: str) -> str:
    """When an id was made, ISO-8601 in UTC to the second; '' where it does not say it."""
    with contextlib.suppress(ValueError):
        made = datetime.strptime(run.rpartition("-")[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        return made.isoformat()
    return ""


def check_run_id(run: str) -> str:
    """The id itself.

    Raises:
        UsageError: it could not be the name of a folder on every system.
    """
    if ID_PATTERN.fullmatch(run):
        return run
    raise UsageError(
        f"run id {run!r} is not usable as a folder name; use 1 to 80 letters, digits, "
        "'.', '_' or '-', beginning with a letter or digit."
    )


def project_folder(project: str) -> str:
    """The folder value of a project: itself, or a slug with a hash for any other text."""
    if ID_PATTERN.fullmatch(project):
        return project
    slug = re.sub(r"[^A-Za-z0-9]+", "-", project).strip("-")[:40] or "project"
    raw = project.encode("utf-8", "surrogatepass")
    return f"{slug}-{hashlib.blake2b(raw, digest_size=4).hexdigest()}"


def run_folder(store: Path, project: str, run: str) -> Path:
    """The folder of one run; `project` is free text, `run` a checked id."""
    return store / f"project={project_folder(project)}" / f"run={check_run_id(run)}"


def claim_name(attempt: int, rank: int) -> str:
    """Name of the file by which one rank of one attempt says that it writes the run."""
    return f".attempt-{attempt:04d}.rank-{rank}"


def parse_claim_name(name: str) -> tuple[int, int] | None:
    """Attempt and rank of a claim file, None for any other."""
    match = _CLAIM_PATTERN.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))


def new_shard_name(*, first: int, last: int, attempt: int, level: int = 0) -> ShardName:
    """A shard name with a fresh random token; nothing depends on torch's generators."""
    return ShardName(
        first=first, last=last, level=level, attempt=attempt, token=secrets.token_hex(6)
    )


def parse_shard_name(name: str) -> ShardName | None:
    """The parts of a file name, or None for a file that is not a shard."""
    match = _SHARD_PATTERN.fullmatch(name)
    if match is None:
        return None
    first, last, level, attempt, token = match.groups()
    return ShardName(
        first=int(first), last=int(last), level=int(level), attempt=int(attempt, 16), token=token
    )


def live_shards(names: Iterable[str]) -> list[str]:
    """The names readers use, sorted: shards that no shard of a higher level replaces.

    A file is dead if a file of the same attempt and a higher level covers its range; among equal
    (attempt, level, range) only the lexically smallest name lives. Names only, so that compaction
    needs no atomic swap.
    """
    shards = {name: shard for name in names if (shard := parse_shard_name(name)) is not None}
    merged = [shard for shard in shards.values() if shard.level > 0]
    seen: set[tuple[int, int, int, int]] = set()
    live: list[str] = []
    for name in sorted(shards):
        shard = shards[name]
        key = (shard.attempt, shard.level, shard.first, shard.last)
        covered = any(
            other.attempt == shard.attempt
            and other.level > shard.level
            and other.first <= shard.first
            and other.last >= shard.last
            for other in merged
        )
        if not covered and key not in seen:
            seen.add(key)
            live.append(name)
    return live


def publish_bytes(path: Path, content: bytes) -> None:
    """Replace one small file atomically: temporary name, fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk refuses; the previous file is untouched then.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        write_synced(part, content)
        part.replace(path)
    except BaseException:
        remove_quietly(part)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, content: bytes | memoryview) -> None:
    """Write a new file that others may not write, and wait until it is on the disk.

    Raises:
        FileExistsError: the file is there.
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        left = memoryview(content)
        while left:
            left = left[stream.write(left) :]
        os.fsync(stream.fileno())


def remove_quietly(path: Path) -> None:
    """Remove a file of ours if that is possible; used where another error is on its way."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, where the file system can.

    A refusal is no failure: the files are visible and were synced themselves, and some network and
    foreign file systems cannot sync a folder.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
