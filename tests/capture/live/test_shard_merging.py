from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from recorded import run_settings, step_rows

from telemetry.capture.live.child import Child, Ended
from telemetry.capture.live.shard_merging import FAILURES_LIMIT, FLUSHES, ShardMerging, can_merge
from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status
from telemetry.format.runs import parse_shard_name
from telemetry.format.shards import listed_shards


@dataclass
class FakeChild:
    ended: Ended | None = None
    was_killed: bool = False

    def poll(self) -> Ended | None:
        return self.ended

    def kill(self) -> None:
        self.was_killed = True


@dataclass
class Starts:
    children: list[FakeChild] = field(default_factory=list)
    refuses: bool = False

    def __call__(self, _command: Sequence[str]) -> Child:
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        self.children.append(FakeChild())
        return self.children[-1]  # type: ignore[return-value]


def test_a_child_begins_with_every_eighth_flush_and_never_beside_another() -> None:
    starts = Starts()
    merging = ShardMerging(Path("run"), start=starts)
    assert not any(merging.turn(n_flushes) for n_flushes in range(FLUSHES))
    assert starts.children == []
    merging.turn(FLUSHES)
    merging.turn(2 * FLUSHES)
    assert len(starts.children) == 1
    starts.children[0].ended = Ended(code=0, cpu_s=0.5)
    assert merging.turn(2 * FLUSHES)
    assert len(starts.children) == 2


def test_after_failures_in_a_row_none_is_begun() -> None:
    starts = Starts(refuses=True)
    merging = ShardMerging(Path("run"), start=starts)
    for number in range(1, FAILURES_LIMIT + 1):
        merging.turn(number * FLUSHES)
    starts.refuses = False
    merging.turn(100 * FLUSHES)
    assert starts.children == []


def test_the_end_of_the_run_ends_the_child() -> None:
    starts = Starts()
    merging = ShardMerging(Path("run"), start=starts)
    merging.turn(FLUSHES)
    merging.close()
    assert starts.children[0].was_killed


def test_it_can_be_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    assert not can_merge()
    monkeypatch.delenv("TELEMETRY_COMPACT")
    assert can_merge()


def test_a_running_run_has_its_shards_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "")
    writer = RunWriter.open(run_settings(tmp_path))
    for step in range(FLUSHES):
        writer.put(step_rows(range(step, step + 1)))
        writer.mark_step(step)
        assert writer.flush(timeout_s=60.0)
    merging = writer._loop._merging
    assert merging is not None
    writer.flush(timeout_s=60.0)
    child = merging._child
    if child is not None:
        child.wait()
    found = listed_shards(writer.ref.path / "steps" / "rank=0")
    writer.close(Status.FINISHED)
    (name,) = [parse_shard_name(shard.name) for shard in found]
    assert name is not None
    assert (name.level, name.first, name.last) == (1, 0, FLUSHES - 1)
