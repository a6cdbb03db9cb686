"""What earlier attempts have left on the disk, as a later one finds it."""

from dataclasses import replace
from pathlib import Path

import pytest
from governed import Loop
from rings import leave_ring
from synthetic import RunBuilder

from telemetry.capture.steps.continuation import BEGINNING, Continuation, recorded_before
from telemetry.format.shards import listed_shards, table_folder


def steps(store: Path, attempt: int, numbers: range, *, rank: int = 0) -> Path:
    """An attempt whose steps have eight examples, and take a second with a tenth of recording."""
    builder = RunBuilder(store, attempt=attempt, rank=rank)
    for step in numbers:
        builder.add("steps", step=step, flags=1, samples=8, elapsed_s=step + 1.0, overhead_s=0.125)
    return builder.write()


def found(run: Path, *, rank: int = 0, attempt: int = 9, **starts: int) -> Continuation:
    numbers = {int(name.removeprefix("a")): step for name, step in starts.items()}
    return recorded_before(run, numbers, rank=rank, attempt=attempt)


def after(n_steps: int, *, elapsed_s: float | None = None) -> Continuation:
    return Continuation(
        step=n_steps,
        samples=8 * n_steps,
        elapsed_s=float(n_steps) if elapsed_s is None else elapsed_s,
        cost_s=0.125 * n_steps,
    )


def test_nothing_is_a_beginning(tmp_path: Path) -> None:
    assert found(tmp_path) == BEGINNING
    assert found(steps(tmp_path, 1, range(4)), attempt=1) == BEGINNING  # its own


def test_shards_are_followed_by_the_ring(tmp_path: Path) -> None:
    run = steps(tmp_path, 1, range(4))
    assert found(run) == after(4)
    leave_ring(run, range(2, 7), n_slots=8)
    assert found(run) == replace(after(7), epochs=1)  # the ring knows them too


def test_what_a_later_attempt_repeated_is_not_counted_again(tmp_path: Path) -> None:
    run = steps(tmp_path, 1, range(10))
    steps(tmp_path, 2, range(4, 6))
    assert found(run) == after(6)
    assert found(run, attempt=2) == after(10)
    assert found(run, a3=5) == after(5)  # of the third the manifest alone knows


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    run = steps(tmp_path, 1, range(3))
    leave_ring(run, range(3, 5)).write_bytes(b"torn")
    steps(tmp_path, 2, range(3, 6))
    folder = table_folder(run, "steps", 0)
    torn = next(path for path in listed_shards(folder) if "L0-0002" in path.name)
    torn.write_bytes(torn.read_bytes()[:-9])
    (run / ".flight-0002.rank-0").symlink_to(tmp_path / "elsewhere")
    assert found(run) == after(3)


def test_all_ranks_go_on_at_the_step_of_rank_zero(tmp_path: Path) -> None:
    run = steps(tmp_path, 1, range(4))
    steps(tmp_path, 1, range(6), rank=1)
    steps(tmp_path, 1, range(2), rank=2)
    leave_ring(run, range(2, 3), rank=2)
    assert found(run, rank=1) == after(4)
    behind = found(run, rank=2)
    assert (behind.step, behind.samples) == (4, 24)
    assert found(run, rank=3) == Continuation(step=4)


@pytest.mark.parametrize(
    ("every", "cadence", "expected"), [(None, 50, 50), (10, 50, 50), (10, 25, 10), (None, 0, 1)]
)
def test_the_cadence_is_kept_where_it_fits(every: int | None, cadence: int, expected: int) -> None:
    loop = Loop(every=every)
    loop.governor.go_on(Continuation(step=100, cadence=cadence))
    assert loop.governor.cadence == expected


def test_the_promise_is_about_the_run_and_not_about_each_attempt() -> None:
    """A thousand seconds have earned ten seconds of recording, and they are spent."""
    attempts = []
    for cost_s in (0.0, 10.0):
        loop = Loop(step=1000)
        at = Continuation(step=1000, elapsed_s=1000.0, cost_s=cost_s, cadence=1)
        loop.governor.go_on(at)
        loop.run(200, step_s=0.1, sample_s=0.1)
        assert loop.worst_excess_s <= 0.1 + 1e-9  # the first sample's cost is not known before
        attempts.append(len(loop.chosen))
    assert attempts[1] <= 1 + 0.01 * 20 / 0.1  # what twenty more seconds earn
    assert attempts[0] > attempts[1]
