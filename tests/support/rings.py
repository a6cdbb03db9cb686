"""Ring files of the flight recorder, as a process leaves them that was killed."""

from pathlib import Path

from telemetry.format.flight_ring import empty_ring, encoded_record, ring_name, slot_offset


def leave_ring(
    run: Path, steps: range, *, attempt: int = 1, rank: int = 0, n_slots: int = 4
) -> Path:
    """A ring of steps of a second and eight examples, whose losses are a hundred more than they."""
    content = bytearray(empty_ring(n_slots, attempt=attempt, rank=rank))
    for step in steps:
        record = encoded_record(
            step,
            1e9 + step,
            elapsed_s=step + 1.0,
            loss=100.0 + step,
            lr=None,
            step_s=0.875,
            overhead_s=0.125,
            grad_norm_total=None,
            clip_coefficient=None,
            samples=8,
            backward_calls=None,
            epoch=step // 4,
            flags=1,
        )
        offset = slot_offset(step, n_slots, settled=False)
        content[offset : offset + len(record)] = record
    path = run / ring_name(attempt, rank)
    path.write_bytes(content)
    return path
