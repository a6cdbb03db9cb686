"""Steps that only the flight recorder of a dead process holds."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rings import leave_ring
from synthetic import RunBuilder

from telemetry.format.flight_ring import ring_name, slot_offset
from telemetry.format.manifest import Status, read_manifest, write_manifest
from telemetry.format.runs import claim_name
from telemetry.store.runs.catalog import load_run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session

N_SLOTS = 4


def steps_of(run: Path, columns: str = "step, loss") -> tuple[Rows, tuple[str, ...]]:
    with Session([load_run(run)]) as session:
        statement = f"SELECT {columns} FROM steps ORDER BY rank, step"  # noqa: S608 - of this file
        return session.query(statement), session.warnings


def killed(builder: RunBuilder) -> Path:
    """A run of another host that has been silent for long."""
    return builder.write(status=Status.RUNNING)


def test_steps_of_no_shard_come_from_the_ring(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0, 1.0, 0.5]))
    leave_ring(run, range(1, 5))
    rows, warnings = steps_of(
        run, "step, loss, samples, batch_hash, CAST(wall_time AS VARCHAR) AS t"
    )
    assert rows.ints("step").tolist() == [0, 1, 2, 3, 4]
    assert rows.floats("loss").tolist() == [2.0, 1.0, 0.5, 103.0, 104.0]
    assert rows.records()[3]["samples"] == 8
    assert rows.records()[3]["batch_hash"] is None
    assert rows.records()[3]["t"] == "2001-09-09 01:46:43"
    assert warnings == ()
    assert load_run(run).steps == 5


def test_a_run_that_died_before_its_first_shard_has_its_ring(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path))
    write_manifest(run, replace(read_manifest(run), attempts=()))
    leave_ring(run, range(2, 6))
    rows, _ = steps_of(run)
    assert rows.ints("step").tolist() == [2, 3, 4, 5]
    assert load_run(run).steps == 6


def test_the_ring_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path, started=datetime.now(UTC)).losses([2.0])
    run = builder.write(status=Status.RUNNING)
    leave_ring(run, range(1, 3))
    assert load_run(run).status is Status.RUNNING
    assert steps_of(run)[0].ints("step").tolist() == [0]
    leave_ring(run, range(1, 3), attempt=2)  # now the first process is one that was resumed
    assert steps_of(run)[0].ints("step").tolist() == [0, 1, 2]


def test_an_attempt_without_a_ring_does_not_hide_that_of_the_one_before(tmp_path: Path) -> None:
    """It was resumed with flight_recorder=0 and has written nothing yet but its claim."""
    builder = RunBuilder(tmp_path, started=datetime.now(UTC)).losses([2.0])
    run = builder.write(status=Status.RUNNING)
    leave_ring(run, range(1, 3))
    (run / claim_name(1, 0)).touch()
    assert steps_of(run)[0].ints("step").tolist() == [0]
    (run / claim_name(2, 0)).touch()
    assert steps_of(run)[0].ints("step").tolist() == [0, 1, 2]


def test_every_rank_has_its_own_ring(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0]))
    leave_ring(run, range(1, 3))
    leave_ring(run, range(3), rank=1)
    rows, _ = steps_of(run, "rank, step")
    assert [(row["rank"], row["step"]) for row in rows.records()] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
    ]


def test_steps_that_a_later_attempt_repeated_are_hidden(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0, 1.0]))
    leave_ring(run, range(2, 5))
    leave_ring(run, range(3, 4), attempt=2)
    rows, _ = steps_of(run, "step, attempt")
    assert [(row["step"], row["attempt"]) for row in rows.records()] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 2),
    ]
    assert load_run(run).steps == 4


@pytest.mark.parametrize(
    ("damage", "warning"),
    [
        (lambda path: path.write_bytes(b"notes"), "ignored: not a flight recorder file"),
        (lambda path: path.write_bytes(b""), "ignored: not a flight recorder file"),
        (lambda path: path.rename(path.with_name(ring_name(1, 5))), "belongs to another attempt"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "ignored: it is a link"),
        (lambda path: (path.unlink(), path.mkdir()), "ignored: Is a directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "ignored: not a regular file"),
    ],
)
def test_a_ring_that_is_none_is_named_and_ignored(
    tmp_path: Path, damage: Callable[[Path], object], warning: str
) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0]))
    damage(leave_ring(run, range(1, 3)))
    rows, warnings = steps_of(run)
    assert rows.ints("step").tolist() == [0]
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_a_torn_record_is_left_out(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0]))
    path = leave_ring(run, range(1, 4))
    content = bytearray(path.read_bytes())
    content[slot_offset(2, N_SLOTS, settled=False) + 8] ^= 1
    path.write_bytes(content)
    rows, warnings = steps_of(run)
    assert rows.ints("step").tolist() == [0, 1, 3]
    assert warnings == (
        f"{run.name.removeprefix('run=')}/{path.name}: 1 incomplete records were skipped.",
    )


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    run = killed(RunBuilder(tmp_path).losses([2.0]))
    leave_ring(run, range(1, 3))
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert steps_of(run)[0].ints("step").tolist() == [0, 1, 2]
    finally:
        for folder in folders:
            folder.chmod(0o700)


def test_an_attempt_that_its_successor_never_knew_is_found(tmp_path: Path) -> None:
    """It was killed in its first second, before the manifest named it."""
    second = RunBuilder(tmp_path, attempt=2)
    for step in (2, 3):
        second.add("steps", step=step, loss=1.0, flags=1)
    run = second.write()
    manifest = read_manifest(run)
    file = {"path": "steps/rank=0/x", "attempt": 2}
    write_manifest(run, replace(manifest, closed=True, files={"steps": [file]}))
    leave_ring(run, range(4))
    rows, _ = steps_of(run, "step, attempt")
    assert [(row["step"], row["attempt"]) for row in rows.records()] == [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
    ]
