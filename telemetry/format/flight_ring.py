"""The ring file of the flight recorder: the last steps of one process, in slots of fixed size.

A header, then two slots per kept step: what the training thread knew when the step ended, and what
the writer thread knew once the values had left their device. So each half has one writer, and no
lock. A record carries a checksum: a torn one is left out, never misread.
"""

import math
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

from telemetry.errors import StoreUnreadable

VERSION = 2  # 1: without the epoch
SLOT_BYTES = 128  # divides a page: no record lies on two
LARGEST_RING = 10_000  # steps
SIZE_LIMIT_BYTES = SLOT_BYTES * (1 + 2 * LARGEST_RING)
# Columns of `steps` that a record holds, in this order. Few: every step pays for them.
FLOATS = (
    "elapsed_s",
    "loss",
    "lr",
    "step_s",
    "overhead_s",
    "grad_norm_total",
    "clip_coefficient",
)
INTEGERS = ("samples", "backward_calls", "epoch", "flags")
COLUMNS = (*FLOATS, *INTEGERS)
WALL_TIME = "wall_time_s"  # since 1970

Number: TypeAlias = float | int | None

_MAGIC = b"telemetry flight"
_HEADER = struct.Struct("<16sHHIII")  # magic, version, slot size, slots, attempt, rank
_RECORD = struct.Struct(f"<qHd{len(FLOATS)}d{len(INTEGERS)}q")  # step, which are known, wall time
_BITS = tuple(1 << place for place in range(len(COLUMNS)))
_ALL_KNOWN = sum(_BITS)
_, _LOSS, _LR, _, _, _GRAD_NORM_TOTAL, _CLIP_COEFFICIENT = _BITS[: len(FLOATS)]
_SAMPLES, _BACKWARD_CALLS, _EPOCH, _ = _BITS[len(FLOATS) :]
_CHECKSUM = struct.Struct("<I")
_NAME = re.compile(r"\.flight-(\d{4,})\.rank-(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """What a ring file says.

    Attributes:
        attempt: Process life of the run that wrote it.
        rank: Rank that wrote it.
        records: Columns by step, ascending.
        n_torn: Records that cannot be read.
    """

    attempt: int
    rank: int
    records: dict[int, dict[str, Number]]
    n_torn: int


def ring_name(attempt: int, rank: int) -> str:
    """Name of a ring file inside the run folder."""
    return f".flight-{attempt:04d}.rank-{rank}"


def parse_ring_name(name: str) -> tuple[int, int] | None:
    """Attempt and rank of a ring file, None for any other."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))


def empty_ring(n_slots: int, *, attempt: int, rank: int) -> bytes:
    """A ring without a record."""
    header = _HEADER.pack(_MAGIC, VERSION, SLOT_BYTES, n_slots, attempt, rank)
    return _sealed(header).ljust(SLOT_BYTES * (1 + 2 * n_slots), b"\0")


def slot_offset(step: int, n_slots: int, *, settled: bool) -> int:
    """Where the record of a step lies.

    Args:
        step: Optimizer step.
        n_slots: Steps that the ring keeps.
        settled: In the half of the writer thread.
    """
    return SLOT_BYTES * (1 + step % n_slots + (n_slots if settled else 0))


def encoded_record(  # noqa: PLR0913 - each a column; a tuple of them costs every step a microsecond
    step: int,
    wall_time_s: float,
    *,
    elapsed_s: float,
    loss: float | None,
    lr: float | None,
    step_s: float,
    overhead_s: float,
    grad_norm_total: float | None,
    clip_coefficient: float | None,
    samples: int | None,
    backward_calls: int | None,
    epoch: int | None,
    flags: int,
) -> bytes:
    """The bytes of one record, at most a slot.

    Step and wall time (since 1970), then the columns of `COLUMNS` in their units; None is what is
    not known.
    """
    known = _ALL_KNOWN
    if loss is None:
        loss, known = 0.0, known - _LOSS
    if lr is None:
        lr, known = 0.0, known - _LR
    if grad_norm_total is None:
        grad_norm_total, known = 0.0, known - _GRAD_NORM_TOTAL
    if clip_coefficient is None:
        clip_coefficient, known = 0.0, known - _CLIP_COEFFICIENT
    if samples is None:
        samples, known = 0, known - _SAMPLES
    if backward_calls is None:
        backward_calls, known = 0, known - _BACKWARD_CALLS
    if epoch is None:
        epoch, known = 0, known - _EPOCH
    content = _RECORD.pack(
        step,
        known,
        wall_time_s,
        elapsed_s,
        loss,
        lr,
        step_s,
        overhead_s,
        grad_norm_total,
        clip_coefficient,
        samples,
        backward_calls,
        epoch,
        flags,
    )
    return _sealed(content)


def parse_ring(content: bytes) -> Ring:
    """What a ring file says; of a step with two records, the settled one counts.

    Raises:
        StoreUnreadable: it is not a ring of a version that is known here.
    """
    n_slots, attempt, rank = _parse_header(content)
    records: dict[int, dict[str, Number]] = {}
    n_torn = 0
    for place in range(1, 1 + 2 * n_slots):
        slot = content[SLOT_BYTES * place : SLOT_BYTES * (place + 1)]
        if not any(slot):
            continue
        record = _parse_record(slot)
        if record is None:
            n_torn += 1
        else:
            records[record[0]] = record[1]
    newest = max(records, default=0)
    kept = {step: records[step] for step in sorted(records) if step > newest - n_slots}
    return Ring(attempt=attempt, rank=rank, records=kept, n_torn=n_torn)


def _sealed(content: bytes) -> bytes:
    return content + _CHECKSUM.pack(zlib.crc32(content))


def _is_whole(content: bytes, size: int) -> bool:
    stored = content[size : size + _CHECKSUM.size]
    return stored == _CHECKSUM.pack(zlib.crc32(content[:size]))


def _parse_header(content: bytes) -> tuple[int, int, int]:
    if len(content) < SLOT_BYTES or not _is_whole(content, _HEADER.size):
        raise StoreUnreadable("not a flight recorder file.")
    magic, version, slot_bytes, n_slots, attempt, rank = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise StoreUnreadable("not a flight recorder file.")
    if version != VERSION:
        raise StoreUnreadable(f"version {version}, but this telemetry reads version {VERSION}.")
    if slot_bytes != SLOT_BYTES or not 1 <= n_slots <= LARGEST_RING:
        raise StoreUnreadable("not a flight recorder file.")
    return n_slots, attempt, rank


def _parse_record(slot: bytes) -> tuple[int, dict[str, Number]] | None:
    if len(slot) < SLOT_BYTES or not _is_whole(slot, _RECORD.size):
        return None
    step, known, wall_time_s, *packed = _RECORD.unpack_from(slot)
    values: dict[str, Number] = {WALL_TIME: wall_time_s if math.isfinite(wall_time_s) else None}
    for bit, name, value in zip(_BITS, COLUMNS, packed, strict=True):
        values[name] = value if known & bit else None
    return step, values
