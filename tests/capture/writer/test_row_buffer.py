import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import TensorPacket

from telemetry.capture.writer.row_buffer import RowBuffer

Misfits = list[tuple[str, str]]


def a_buffer(misfits: Misfits | None = None) -> RowBuffer:
    seen: Misfits = [] if misfits is None else misfits
    return RowBuffer(2, lambda name, error: seen.append((name, type(error).__name__)))


def add_sample(buffer: RowBuffer, step: int, *, n_tensors: int = 4) -> None:
    for name, rows in TensorPacket(step=step, n_tensors=n_tensors).rows():
        buffer.add(name, rows)


def steps_taken(buffer: RowBuffer, name: str, *, up_to: int | None = None) -> list[int]:
    rows = buffer.take(name, up_to=up_to).rows
    return [] if rows is None else rows.column("step").to_pylist()


def test_rows_know_their_attempt_and_have_every_column() -> None:
    buffer = a_buffer()
    buffer.add_records("steps", [{"step": 0, "flags": 1}])
    add_sample(buffer, 0)
    taken = buffer.take("steps", up_to=None)
    assert taken.n_lost == 0
    assert taken.rows.column("attempt").to_pylist() == [2]
    assert "loss" in taken.rows.column_names
    assert buffer.take("tensor_stats", up_to=None).rows.column("attempt").to_pylist() == [2] * 4


def test_rows_and_bytes_are_counted() -> None:
    buffer = a_buffer()
    assert (buffer.n_rows, buffer.n_bytes) == (0, 0)
    buffer.add_records("steps", [{"step": 0, "flags": 1}])
    add_sample(buffer, 0)
    assert buffer.n_rows == 5
    assert buffer.n_bytes > 4 * 64
    buffer.take("steps", up_to=None)
    buffer.take("tensor_stats", up_to=None)
    assert (buffer.n_rows, buffer.n_bytes) == (0, 0)


def test_events_are_written_after_what_they_tell_of() -> None:
    buffer = a_buffer()
    buffer.add_records("events", [{"step": 0, "kind": "k", "severity": "info"}])
    buffer.add_records("steps", [{"step": 0, "flags": 1}])
    assert buffer.tables() == ["steps", "events"]


def test_a_packet_is_taken_whole_or_waits_for_its_step() -> None:
    buffer = a_buffer()
    for step in (0, 1, 2):
        add_sample(buffer, step)
    assert steps_taken(buffer, "tensor_stats", up_to=1) == [0] * 4 + [1] * 4
    assert steps_taken(buffer, "tensor_stats", up_to=1) == []
    assert steps_taken(buffer, "tensor_stats") == [2] * 4
    assert buffer.tables() == []


def test_rows_that_were_given_back_come_first_again() -> None:
    buffer = a_buffer()
    add_sample(buffer, 0, n_tensors=1)
    taken = buffer.take("tensor_stats", up_to=None)
    add_sample(buffer, 1, n_tensors=1)
    buffer.give_back("tensor_stats", taken)
    assert steps_taken(buffer, "tensor_stats") == [0, 1]


def test_packets_with_other_columns_are_joined() -> None:
    buffer = a_buffer()
    for histogram in (True, False):
        for name, rows in TensorPacket(step=0, n_tensors=1, histogram=histogram).rows():
            buffer.add(name, rows)
    for name, rows in TensorPacket(
        step=0, n_tensors=1, columns={"n": pa.array([10], pa.int32())}
    ).rows():
        buffer.add(name, rows)
    taken = buffer.take("tensor_stats", up_to=None)
    assert taken.n_lost == 0
    assert sorted(taken.rows.column("hist").is_valid().to_pylist()) == [False, True, True]
    assert taken.rows.column("n").to_pylist() == [10] * 3


def test_a_packet_that_does_not_fit_costs_only_itself() -> None:
    misfits: Misfits = []
    buffer = a_buffer(misfits)
    add_sample(buffer, 0, n_tensors=2)
    wrong = TensorPacket(step=1, n_tensors=3, columns={"grad_nrom": pa.array([1.0] * 3)})
    for name, rows in wrong.rows():
        buffer.add(name, rows)
    taken = buffer.take("tensor_stats", up_to=None)
    assert taken.rows.column("step").to_pylist() == [0, 0]
    assert taken.n_lost == 3
    assert misfits == [("tensor_stats", "SchemaMismatch")]
    buffer.give_back("tensor_stats", taken)
    assert steps_taken(buffer, "tensor_stats") == [0, 0]


def test_only_misfits_are_no_rows() -> None:
    buffer = a_buffer()
    buffer.add("steps", pa.table({"step": pa.array([1])}))
    taken = buffer.take("steps", up_to=None)
    assert (taken.rows, taken.n_lost, taken.chunks) == (None, 1, ())


def test_a_wrong_value_costs_only_its_row() -> None:
    misfits: Misfits = []
    buffer = a_buffer(misfits)
    good = {"step": 1, "phase": "train", "name": "a", "value": 1.0}
    buffer.add_records("metrics", [good, {**good, "value": "much"}, {**good, "step": 2}])
    taken = buffer.take("metrics", up_to=None)
    assert taken.rows.column("step").to_pylist() == [1, 2]
    assert taken.n_lost == 1
    assert [name for name, _ in misfits] == ["metrics"]


def test_the_first_thing_given_up_is_histograms() -> None:
    buffer = a_buffer()
    for step in range(10):
        add_sample(buffer, step, n_tensors=100)
    before = buffer.n_bytes
    assert buffer.trim(before) == {}
    assert buffer.trim(before - 1) == {"tensor_stats.hist": 100}
    n_more = buffer.trim(int(before * 0.7))["tensor_stats.hist"]
    assert 100 <= n_more < 900
    assert buffer.n_rows == 1000
    taken = buffer.take("tensor_stats", up_to=None)
    valid = taken.rows.column("hist").is_valid().to_pylist()
    assert valid == [False] * (100 + n_more) + [True] * (900 - n_more)


def test_then_statistics_oldest_first_and_steps_metrics_and_events_last() -> None:
    buffer = a_buffer()
    for step in range(10):
        for name, rows in TensorPacket(step=step, n_tensors=100, histogram=False).rows():
            buffer.add(name, rows)
    buffer.add_records("steps", [{"step": 0, "flags": 1}])
    buffer.add_records("metrics", [{"step": 0, "phase": "eval", "name": "a", "value": 1.0}])
    buffer.add_records("events", [{"step": 0, "kind": "k", "severity": "info"}])
    lost = buffer.trim(buffer.n_bytes // 2)
    assert set(lost) == {"tensor_stats"}
    kept = steps_taken(buffer, "tensor_stats")
    assert min(kept) == lost["tensor_stats"] // 100
    assert max(kept) == 9
    assert steps_taken(buffer, "steps") == [0]
    assert steps_taken(buffer, "metrics") == [0]
    assert steps_taken(buffer, "events") == [0]


def test_module_statistics_go_before_tensor_statistics() -> None:
    buffer = a_buffer()
    n = 50
    buffer.add(
        "module_stats",
        pa.table({"step": pa.array([0] * n, pa.int64()), "module_id": pa.array(range(n))}),
    )
    for name, rows in TensorPacket(step=0, n_tensors=n, histogram=False).rows():
        buffer.add(name, rows)
    assert buffer.trim(buffer.n_bytes - 1) == {"module_stats": n}


def test_everything_can_be_given_up() -> None:
    buffer = a_buffer()
    add_sample(buffer, 0)
    buffer.add_records("steps", [{"step": 0, "flags": 1}])
    buffer.add_records("steps", [{"step": "zero", "flags": 1}])
    lost = buffer.trim(0)
    assert lost == {"tensor_stats.hist": 4, "tensor_stats": 4, "steps": 2}
    assert buffer.tables() == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=8), st.integers(0, 9))
def test_no_row_is_lost_or_taken_twice(packets: list[tuple[int, int]], up_to: int) -> None:
    buffer = a_buffer()
    for step, n_tensors in packets:
        add_sample(buffer, step, n_tensors=n_tensors)
    early = steps_taken(buffer, "tensor_stats", up_to=up_to)
    late = steps_taken(buffer, "tensor_stats")
    assert all(step <= up_to for step in early)
    assert sorted(early + late) == sorted(step for step, n in packets for _ in range(n))
