import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from loops import Training, mlp, vectors
from recorded import step_record
from torch import Tensor

from telemetry import TelemetryCallback
from telemetry.capture.packet import host_table
from telemetry.capture.tensors.host import host_number
from telemetry.capture.writer import flight_recorder, writer
from telemetry.capture.writer.flight_recorder import FlightRecorder
from telemetry.format.flight_ring import Ring, parse_ring
from telemetry.format.manifest import Status

pytestmark = pytest.mark.usefixtures("_at_once")
TOGETHER_S = flight_recorder.TOGETHER_S


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is written when it ends."""
    monkeypatch.setattr(flight_recorder, "TOGETHER_S", 0.0)


def recorder(
    folder: Path, *, n_slots: int = 4, clock: Callable[[], float] = lambda: 0.0
) -> FlightRecorder:
    return FlightRecorder(folder, attempt=2, rank=1, n_slots=n_slots, clock=clock)


def ring(flight: FlightRecorder) -> Ring:
    return parse_ring(flight.path.read_bytes())


def test_a_step_is_in_the_file_when_it_has_ended(tmp_path: Path) -> None:
    flight = recorder(tmp_path)
    flight.note(
        step_record(
            step=7,
            flags=17,
            losses=(torch.tensor(2.0), 4.0),
            roots=(torch.tensor(0.5), torch.tensor(0.25)),
            root_types=("a", "a"),
            backward_calls=2,
            epoch=3,
            lr=0.1,
            samples=64,
            grad_norm_total=torch.tensor(8.0, dtype=torch.float64),
            wall_time_s=100.25,
            elapsed_s=1.5,
            step_s=0.25,
            overhead_s=0.125,
        )
    )
    found = ring(flight)
    assert (found.attempt, found.rank) == (2, 1)
    assert found.records[7] == {
        "wall_time_s": 100.25,
        "elapsed_s": 1.5,
        "loss": 3.0,  # the mean of those reported
        "lr": 0.1,
        "step_s": 0.25,
        "overhead_s": 0.125,
        "grad_norm_total": 8.0,
        "clip_coefficient": None,
        "samples": 64,
        "backward_calls": 2,
        "epoch": 3,
        "flags": 17,
    }


def test_without_a_report_the_backward_roots_are_the_loss(tmp_path: Path) -> None:
    flight = recorder(tmp_path)
    flight.note(step_record(step=0, roots=(torch.tensor(0.5), torch.tensor(0.25))))
    flight.note(step_record(step=1))
    records = ring(flight).records
    assert (records[0]["loss"], records[1]["loss"]) == (0.75, None)


def test_a_closure_or_the_unscaled_roots_are_the_loss_of_a_step_without_a_report(
    tmp_path: Path,
) -> None:
    flight = recorder(tmp_path)
    roots = (torch.tensor(512.0),)
    flight.note(step_record(step=0, roots=roots, loss_scale=torch.tensor(256.0)))
    flight.note(step_record(step=1, roots=roots, closure_losses=(3.0,), loss_scale=256.0))
    records = ring(flight).records
    assert (records[0]["loss"], records[1]["loss"]) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1.5, 1.5),
        (torch.tensor(1.5), 1.5),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (torch.tensor(1.5, dtype=torch.float16), 1.5),
        (torch.tensor(3, dtype=torch.int32), 3.0),
        (torch.tensor([1.0, 2.0]), 1.5),
        (torch.tensor(1.5 + 2j), 1.5),
        (torch.tensor(1.5, requires_grad=True), 1.5),
        (torch.tensor(1.5, device="meta"), None),
    ],
)
def test_the_host_knows_what_lies_on_it(value: Tensor | float, number: float | None) -> None:
    assert host_number(value) == number


UNKNOWN = ("lr", "grad_norm_total", "clip_coefficient", "samples", "backward_calls", "epoch")


def settled_rows(steps: range) -> pa.Table:
    return host_table(
        "steps",
        [
            {
                "step": step,
                "loss": float(step),
                "wall_time": 1_000_000,
                "elapsed_s": 1.0,
                "step_s": 0.5,
                "overhead_s": 0.25,
                "flags": 1,
                **dict.fromkeys(UNKNOWN),
            }
            for step in steps
        ],
    )


def test_values_from_a_device_are_filled_in_once_they_are_there(tmp_path: Path) -> None:
    flight = recorder(tmp_path)
    for step in range(6):
        flight.note(
            step_record(step=step, losses=(torch.empty((), device="meta"),), elapsed_s=step)
        )
    assert {values["loss"] for values in ring(flight).records.values()} == {None}
    flight.settle(settled_rows(range(5)))
    found = ring(flight).records
    assert {step: values["loss"] for step, values in found.items()} == {
        2: 2.0,
        3: 3.0,
        4: 4.0,
        5: None,
    }
    assert found[3]["wall_time_s"] == 1.0
    flight.settle(settled_rows(range(5, 6)))
    assert ring(flight).records[5]["loss"] == 5.0


def test_where_the_host_knows_all_the_writer_thread_writes_nothing(tmp_path: Path) -> None:
    flight = recorder(tmp_path)
    flight.note(step_record(step=0, losses=(torch.tensor(1.0),)))
    before = flight.path.read_bytes()
    flight.settle(settled_rows(range(1)))
    assert flight.path.read_bytes() == before


def test_a_closed_run_needs_no_ring_and_one_with_lost_rows_does(tmp_path: Path) -> None:
    flight = recorder(tmp_path)
    flight.note(step_record(step=0))
    flight.close(keep=False)
    assert list(tmp_path.iterdir()) == []
    kept = recorder(tmp_path)
    kept.note(step_record(step=0))
    kept.close(keep=True)
    kept.note(step_record(step=1))
    kept.close(keep=False)  # was closed
    assert list(ring(kept).records) == [0]


def test_a_full_disk_at_the_beginning_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_descriptor: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    flight = recorder(tmp_path)
    monkeypatch.undo()
    flight.note(step_record(step=0))
    flight.close(keep=False)
    assert not flight.is_on
    assert list(tmp_path.iterdir()) == []
    assert [r.getMessage().count("No space left on device") for r in caplog.records] == [1]


def test_a_missing_folder_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flight = recorder(tmp_path / "gone")
    flight.note(step_record(step=0))
    flight.close(keep=False)
    assert [r.getMessage().count("No such file") for r in caplog.records] == [1]


def test_a_disk_that_fails_later_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flight = recorder(tmp_path)
    flight.note(step_record(step=0))

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", refuse)
    for step in range(1, 5):
        flight.note(step_record(step=step))
    assert [r.getMessage().count("Input/output error") for r in caplog.records] == [1]
    assert list(ring(flight).records) == [0]


class Disk:
    """Writes take so long, by a clock that only they move.

    Attributes:
        n_writes: How many there were.
        taken_s: Of all.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write_s: Callable[[int], float]) -> None:
        self.clock = Clock()
        self.n_writes = 0
        self.taken_s = 0.0
        real = os.pwrite

        def pwrite(descriptor: int, content: bytes, offset: int) -> int:
            took_s = write_s(self.n_writes)
            self.clock.now_s += took_s
            self.taken_s += took_s
            self.n_writes += 1
            return real(descriptor, content, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)


def test_a_machine_that_lets_it_wait_for_a_core_now_and_then_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, lambda index: 0.03 if index % 4 else 0.00001)
    flight = recorder(tmp_path, clock=disk.clock)
    for step in range(500):
        flight.note(step_record(step=step, elapsed_s=0.01 * step))
        assert max(ring(flight).records) == step
    assert flight.is_on


def test_a_file_system_that_asks_a_server_is_written_to_in_bulk_after_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(monkeypatch, lambda _: 0.002)
    flight = recorder(tmp_path, n_slots=16, clock=disk.clock)
    behind = []
    for step in range(10_000):
        flight.note(step_record(step=step, elapsed_s=0.01 * step))
        if not step % 100:
            behind.append(step - max(ring(flight).records))
    assert disk.taken_s <= 0.004 * 100  # s of training; a ring that has turned takes two writes
    assert max(behind) <= 2 * 200  # 2 s: a thousand times what a write takes
    flight.write_kept()  # what a close does
    assert list(ring(flight).records) == list(range(10_000 - 16, 10_000))
    assert caplog.records == []


def test_a_file_system_that_has_become_fast_again_is_written_to_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, lambda index: 0.002 if index < 20 else 0.00001)
    flight = recorder(tmp_path, n_slots=16, clock=disk.clock)
    for step in range(5000):
        flight.note(step_record(step=step, elapsed_s=0.01 * step))
        if step >= 4000:
            assert max(ring(flight).records) == step


def test_a_disk_that_works_again_is_written_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")

    flight = recorder(tmp_path)
    monkeypatch.setattr(os, "pwrite", refuse)
    for step in range(100):
        flight.note(step_record(step=step, elapsed_s=float(step)))
    assert not flight.is_on
    monkeypatch.undo()
    for step in range(100, 200):
        flight.note(step_record(step=step, elapsed_s=float(step)))
    assert flight.is_on
    assert list(ring(flight).records) == [196, 197, 198, 199]
    assert len(caplog.records) == 1


def test_a_ring_of_another_process_is_never_written_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = recorder(tmp_path)
    first.note(step_record(step=5))
    second = recorder(tmp_path)
    second.note(step_record(step=6))
    second.close(keep=False)
    assert not second.is_on
    assert list(ring(first).records) == [5]
    assert len(caplog.records) == 1


def test_the_first_reported_loss_comes_after_its_step_and_is_kept(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    for step, _ in enumerate(training.steps(3)):
        telemetry.step(loss=10.0 + step)
    assert telemetry.path is not None
    (path,) = telemetry.path.glob(".flight-*")
    records = parse_ring(path.read_bytes()).records
    assert {step: values["loss"] for step, values in records.items()} == {0: 10, 1: 11, 2: 12}
    telemetry.close()
    assert not path.exists()


@pytest.mark.parametrize("n_steps", [0, None])
def test_it_can_be_switched_off(tmp_path: Path, n_steps: int | None) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, flight_recorder=n_steps
    )
    for loss in training.steps(2):
        telemetry.step(loss=loss)
    assert telemetry.path is not None
    assert list(telemetry.path.glob(".flight-*")) == []
    telemetry.close()


def test_a_forked_child_keeps_nothing(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    for loss in training.steps(2):
        telemetry.step(loss=loss)
    assert telemetry.path is not None
    (path,) = telemetry.path.glob(".flight-*")
    (own,) = writer._open_writers
    writer._disown_all()  # what a forked child does first
    for loss in training.steps(2):
        telemetry.step(loss=loss)
    assert list(parse_ring(path.read_bytes()).records) == [0, 1]
    telemetry.close()
    assert path.exists()
    own._is_owned = True  # its thread is that of this process
    own.close(Status.FINISHED)


def test_steps_that_end_shortly_after_each_other_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_recorder, "TOGETHER_S", TOGETHER_S)
    disk = Disk(monkeypatch, lambda _: 0.00001)
    flight = recorder(tmp_path, n_slots=16, clock=disk.clock)
    step_s = TOGETHER_S / 8
    for step in range(1000):
        flight.note(step_record(step=step, elapsed_s=step * step_s))
        found = list(ring(flight).records)
        assert step - found[-1] <= 8
        assert found == list(range(max(found[-1] - 15, 0), found[-1] + 1))
    assert disk.n_writes <= 2 * (1 + 1000 / 8)  # a ring that has turned takes two


def test_the_writer_thread_writes_what_no_later_step_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_recorder, "TOGETHER_S", TOGETHER_S)
    flight = recorder(tmp_path)
    for step in range(3):
        flight.note(step_record(step=step, elapsed_s=0.001 * step))
    assert list(ring(flight).records) == [0]
    flight.write_waiting()
    assert list(ring(flight).records) == [0, 1, 2]


def test_a_slot_is_one_write_of_less_than_a_page() -> None:
    assert 4096 % flight_recorder.SLOT_BYTES == 0
