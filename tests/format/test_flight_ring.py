import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.errors import StoreUnreadable
from telemetry.format.flight_ring import (
    FLOATS,
    INTEGERS,
    LARGEST_RING,
    SIZE_LIMIT_BYTES,
    SLOT_BYTES,
    WALL_TIME,
    Ring,
    empty_ring,
    encoded_record,
    parse_ring,
    parse_ring_name,
    ring_name,
    slot_offset,
)


def ring_of(records: dict[int, bytes], n_slots: int = 4, *, settled: bool = False) -> bytearray:
    """A ring of attempt 2 and rank 3 with the given records in the places of their steps."""
    content = bytearray(empty_ring(n_slots, attempt=2, rank=3))
    for step, record in records.items():
        offset = slot_offset(step, n_slots, settled=settled)
        content[offset : offset + len(record)] = record
    return content


def record(step: int, loss: float | None) -> bytes:
    return encoded_record(
        step,
        12.5,
        elapsed_s=1.0,
        loss=loss,
        lr=None,
        step_s=0.5,
        overhead_s=0.25,
        grad_norm_total=None,
        clip_coefficient=None,
        samples=None,
        backward_calls=None,
        epoch=None,
        flags=0,
    )


def losses(ring: Ring) -> dict[int, object]:
    return {step: values["loss"] for step, values in ring.records.items()}


def test_the_names_of_rings_and_of_nothing_else() -> None:
    assert ring_name(2, 13) == ".flight-0002.rank-13"
    assert parse_ring_name(".flight-0002.rank-13") == (2, 13)
    for name in ("flight-0002.rank-1", ".flight-2.rank-1", ".attempt-0001.rank-0", ".flight-0001"):
        assert parse_ring_name(name) is None


VALUES = {name: st.floats(allow_nan=False) for name in FLOATS} | {
    name: st.integers(0, 2**40) for name in INTEGERS
}
ALWAYS_KNOWN = {"elapsed_s", "step_s", "overhead_s", "flags"}


@given(
    st.integers(0, 2**62),
    st.fixed_dictionaries(
        {name: some if name in ALWAYS_KNOWN else st.none() | some for name, some in VALUES.items()}
    ),
)
def test_a_record_says_what_was_put_in(step: int, values: dict[str, float]) -> None:
    content = encoded_record(step, 12.5, **values)
    assert len(content) <= SLOT_BYTES
    ring = parse_ring(bytes(ring_of({step: content})))
    assert ring == Ring(attempt=2, rank=3, records={step: {WALL_TIME: 12.5, **values}}, n_torn=0)


def test_a_loss_that_is_nan_is_a_value() -> None:
    found = parse_ring(bytes(ring_of({1: record(1, math.nan), 2: record(2, None)})))
    assert math.isnan(float(str(losses(found)[1])))
    assert losses(found)[2] is None


def test_the_last_steps_are_kept_in_order() -> None:
    content = bytearray(empty_ring(4, attempt=2, rank=3))
    for step in range(11):
        offset = slot_offset(step, 4, settled=False)
        content[offset : offset + SLOT_BYTES] = record(step, float(step)).ljust(SLOT_BYTES, b"\0")
    assert losses(parse_ring(bytes(content))) == {7: 7.0, 8: 8.0, 9: 9.0, 10: 10.0}


def test_what_the_writer_thread_knows_counts_and_what_is_too_old_does_not() -> None:
    content = ring_of({6: record(6, None), 7: record(7, None)})
    settled = ring_of({3: record(3, 3.0), 6: record(6, 6.0)}, settled=True)
    content[SLOT_BYTES * 5 :] = settled[SLOT_BYTES * 5 :]
    assert losses(parse_ring(bytes(content))) == {6: 6.0, 7: None}


def test_every_single_wrong_byte_costs_its_record_and_no_other() -> None:
    content = bytes(ring_of({step: record(step, float(step)) for step in range(4)}))
    size = len(record(0, 0.0))
    for place in range(size):
        torn = bytearray(content)
        torn[SLOT_BYTES * 2 + place] ^= 0x40
        found = parse_ring(bytes(torn))
        assert (losses(found), found.n_torn) == ({0: 0.0, 2: 2.0, 3: 3.0}, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a flight recorder file"),
        (b"x" * 4096, "not a flight recorder file"),
        (bytes(4096), "not a flight recorder file"),
        (empty_ring(4, attempt=1, rank=0)[:20], "not a flight recorder file"),
    ],
)
def test_a_foreign_file_is_no_ring(content: bytes, reason: str) -> None:
    with pytest.raises(StoreUnreadable, match=reason):
        parse_ring(content)


def test_a_file_that_was_cut_keeps_what_is_left() -> None:
    content = bytes(ring_of({step: record(step, float(step)) for step in range(4)}))
    found = parse_ring(content[: SLOT_BYTES * 3 + 10])
    assert (losses(found), found.n_torn) == ({0: 0.0, 1: 1.0}, 1)


def test_a_newer_ring_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.format.flight_ring.VERSION", 9)
    content = empty_ring(4, attempt=1, rank=0)
    monkeypatch.undo()
    with pytest.raises(StoreUnreadable, match="version 9, but this telemetry reads version 2"):
        parse_ring(content)


def test_the_largest_ring_is_within_the_limit_of_the_reader() -> None:
    assert len(empty_ring(LARGEST_RING, attempt=1, rank=0)) == SIZE_LIMIT_BYTES


def test_a_step_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(struct.error):
        record(2**63, 1.0)
