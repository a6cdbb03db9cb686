"""Merging of shards: the rows stay the same, whatever happens meanwhile."""

import errno
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_shards import run_of, steps_shard
from two_shards import break_pages, read, shards

from telemetry.format import shards as shard_files
from telemetry.format.runs import ShardName, new_shard_name, parse_shard_name
from telemetry.format.shards import (
    listed_shards,
    read_footer,
    read_shard,
    table_folder,
    write_shard,
)
from telemetry.format.tables import table
from telemetry.store.files.locks import run_lock
from telemetry.store.runs.catalog import load_run
from telemetry.store.upkeep import compaction
from telemetry.store.upkeep.compact import compact_run, main
from telemetry.store.upkeep.compaction import (
    LEVEL_FILES,
    TARGET_BYTES,
    content_hash,
    merge_groups,
    remove_replaced,
)

DAMAGE = "SELECT COUNT(*) AS n, COUNT(DISTINCT step) AS steps, SUM(loss) AS total FROM steps"


def all_rows(path: Path) -> pa.Table:
    found = [read_shard(shard) for shard in listed_shards(table_folder(path, "steps", 0))]
    return pa.concat_tables(found).sort_by("step")


def merge(path: Path, *, grace_s: float = 60.0) -> int:
    """Compacts; how many files were made."""
    return compact_run(load_run(path).ref, grace_s=grace_s).merged.n_outputs


def test_a_run_that_has_ended_becomes_one_shard_a_table_with_the_same_rows(
    tmp_path: Path,
) -> None:
    path = run_of(tmp_path, 20)
    before = all_rows(path)
    assert merge(path) == 1
    (shard,) = listed_shards(table_folder(path, "steps", 0))
    assert content_hash(read_shard(shard)) == content_hash(before)
    assert read_shard(shard)["step"].to_pylist() == list(range(60))
    footer = read_footer(shard)
    assert (footer.min_step, footer.max_step, footer.rows) == (0, 59, 60)
    assert merge(path) == 0


def test_old_files_stay_for_a_minute_and_go_then(tmp_path: Path) -> None:
    path = run_of(tmp_path, 5)
    merge(path)
    assert len(shards(path)) == 6
    ref = load_run(path).ref
    (merged,) = listed_shards(table_folder(path, "steps", 0))
    made_s = merged.stat().st_mtime
    assert remove_replaced(ref, now_s=made_s + 59.0).n_removed == 0
    assert remove_replaced(ref, now_s=made_s + 61.0).n_removed == 5
    assert shards(path) == [merged]


def test_without_a_grace_they_go_at_once(tmp_path: Path) -> None:
    path = run_of(tmp_path, 5)
    merge(path, grace_s=0.0)
    assert len(shards(path)) == 1


def test_only_full_levels_are_merged_while_the_run_goes_on(tmp_path: Path) -> None:
    path = run_of(tmp_path, LEVEL_FILES - 1, closed=False)
    assert merge(path) == 0
    steps_shard(path, LEVEL_FILES - 1)
    assert merge(path) == 1
    steps_shard(path, LEVEL_FILES)
    assert merge(path) == 0
    names = [parse_shard_name(shard.name) for shard in listed_shards(path / "steps/rank=0")]
    assert [name.level for name in names if name] == [1, 0]


def test_eight_merged_files_are_merged_again(tmp_path: Path) -> None:
    path = run_of(tmp_path, 0, closed=False)
    for number in range(LEVEL_FILES**2):
        steps_shard(path, number)
        if number % LEVEL_FILES == LEVEL_FILES - 1:
            merge(path, grace_s=0.0)
    (name,) = [parse_shard_name(shard.name) for shard in shards(path)]
    assert name is not None
    assert (name.level, name.first, name.last) == (2, 0, 3 * LEVEL_FILES**2 - 1)
    assert all_rows(path)["step"].to_pylist() == list(range(3 * LEVEL_FILES**2))


def test_queries_see_every_row_once_before_between_and_after(tmp_path: Path) -> None:
    path = run_of(tmp_path, 9)
    expected, _ = read(tmp_path, DAMAGE)
    merge(path)
    both, warnings = read(tmp_path, DAMAGE)
    remove_replaced(load_run(path).ref, now_s=time.time() + 100.0)
    merged, warnings_after = read(tmp_path, DAMAGE)
    for found in (both, merged):
        assert found.records()[0]["n"] == found.records()[0]["steps"] == 27
        assert str(found.records()) == str(expected.records())
    assert warnings == warnings_after == ()


def test_a_damaged_shard_is_left_alone_and_its_neighbours_are_merged(tmp_path: Path) -> None:
    path = run_of(tmp_path, 5)
    broken = shards(path)[2]
    break_pages(broken)
    assert merge(path, grace_s=0.0) == 2
    assert broken in shards(path)
    assert len(shards(path)) == 3
    rows, warnings = read(tmp_path, DAMAGE)
    assert rows.records()[0]["n"] == 12
    assert any(broken.name in warning for warning in warnings)


def test_a_lost_shard_stays_a_hole(tmp_path: Path) -> None:
    path = run_of(tmp_path, 6)
    shards(path)[2].unlink()
    merge(path, grace_s=0.0)
    names = [parse_shard_name(shard.name) for shard in shards(path)]
    assert [(name.first, name.last) for name in names if name] == [(0, 5), (9, 17)]


def test_attempts_are_never_mixed(tmp_path: Path) -> None:
    path = run_of(tmp_path, 3)
    for number in (3, 4):
        steps_shard(path, number, attempt=2)
    assert merge(path, grace_s=0.0) == 2
    attempts = [read_shard(shard)["attempt"].unique().to_pylist() for shard in shards(path)]
    assert sorted(attempts) == [[1], [2]]


def test_what_a_newer_version_has_written_is_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, 3)
    found = read_footer
    newer = table("steps").version + 1

    def of_a_newer_one(shard: Path) -> shard_files.Footer:
        footer = found(shard)
        return shard_files.Footer(
            version=newer, rows=footer.rows, min_step=0, max_step=0, columns=footer.columns
        )

    monkeypatch.setattr(compaction, "read_footer", of_a_newer_one)
    assert merge(path) == 0
    assert len(shards(path)) == 3


def test_a_merged_file_that_lacks_a_row_never_becomes_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, 3)
    before = shards(path)
    whole = compaction.sorted_rows
    calls = 0

    def torn(schema: object, rows: pa.Table) -> pa.Table:
        nonlocal calls
        calls += 1
        return whole(schema, rows) if calls <= 3 else whole(schema, rows.slice(1))  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "sorted_rows", torn)
    with pytest.raises(OSError, match="does not contain the rows"):
        merge(path)
    assert shards(path) == before
    assert list(path.glob("*/rank=0/.*.part")) == []


def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, 3)
    before = shards(path)

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_files, "write_synced", full)
    with pytest.raises(OSError, match="No space"):
        merge(path)
    assert shards(path) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from telemetry.format import shards
from telemetry.store.upkeep import compact
from telemetry.store.upkeep import compaction
where = sys.argv[2]
def die(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "written":
    shards._rename = die
if where == "renamed":
    compaction.remove_replaced = compact.remove_replaced = die
if where == "half":
    unlink, done = Path.unlink, []
    def one(path, **options):
        unlink(path, **options)
        done.append(path)
        len(done) < 2 or die()
    Path.unlink = one
compact.compact_run(compact.load_run(Path(sys.argv[1])).ref, grace_s=0.0)
"""


@pytest.mark.parametrize(("where", "n_files"), [("written", 5), ("renamed", 6), ("half", 4)])
def test_a_compaction_that_is_killed_loses_and_doubles_nothing(
    where: str, n_files: int, tmp_path: Path
) -> None:
    path = run_of(tmp_path, 5)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), where], check=False)
    assert done.returncode == -9
    assert len(shards(path)) == n_files
    rows, _ = read(tmp_path, DAMAGE)
    assert rows.records()[0]["n"] == rows.records()[0]["steps"] == 15
    merge(path, grace_s=0.0)
    assert len(shards(path)) == 1
    assert list(path.glob("*/rank=0/.*.part")) == []
    rows, _ = read(tmp_path, DAMAGE)
    assert rows.records()[0]["n"] == 15


def test_a_second_compaction_leaves_the_run_to_the_first(tmp_path: Path) -> None:
    path = run_of(tmp_path, 3)
    with run_lock(path) as held:
        assert held
        found = compact_run(load_run(path).ref)
    assert "another process" in found.reason
    assert len(shards(path)) == 3


def test_the_manifest_names_the_merged_shard(tmp_path: Path) -> None:
    path = run_of(tmp_path, 3)
    merge(path)
    (entry,) = json.loads((path / "run.json").read_text())["files"]["steps"]
    (shard,) = listed_shards(path / "steps/rank=0")
    assert entry["path"] == f"steps/rank=0/{shard.name}"
    assert (entry["rows"], entry["bytes"]) == (9, shard.stat().st_size)


def test_a_file_that_only_claims_to_cover_the_others_removes_none(tmp_path: Path) -> None:
    path = run_of(tmp_path, 3)
    inside = shards(path)
    planted = new_shard_name(first=0, last=99, attempt=1, level=9)
    write_shard(path / "steps/rank=0", table("steps"), read_shard(inside[0]), planted)
    assert remove_replaced(load_run(path).ref, now_s=time.time() + 1e6).n_removed == 0
    assert all(shard.exists() for shard in inside)


def test_a_run_that_is_deleted_meanwhile_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, 3)
    publish: Callable[..., object] = compaction.publish_shard

    def deleted_first(folder: Path, *arguments: object, **options: object) -> object:
        path.rename(tmp_path / "trash")
        return publish(folder, *arguments, **options)

    monkeypatch.setattr(compaction, "publish_shard", deleted_first)
    with pytest.raises(FileNotFoundError):
        merge(path)
    assert not path.exists()


def test_as_a_process_it_says_nothing_and_ends_with_2_where_there_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_of(tmp_path, 3)
    assert main([str(path)]) == 0
    assert len(listed_shards(path / "steps/rank=0")) == 1
    assert main([str(tmp_path / "project=p" / "run=absent")]) == 2
    assert capsys.readouterr().out == ""


def named(ranges: Sequence[tuple[int, int, int]]) -> dict[ShardName, int]:
    """Shards by (first, last, level), of one byte each."""
    return {
        ShardName(first=first, last=last, level=level, attempt=1, token=f"{first:012x}"): 1
        for first, last, level in ranges
    }


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.sets(st.integers(0, 39)))
def test_groups_are_neighbours_and_none_is_in_two(lengths: list[int], lost: set[int]) -> None:
    edges = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
    ranges = [(edges[i], edges[i + 1] - 1, 0) for i in range(len(lengths)) if i not in lost]
    groups = list(merge_groups(named(ranges), is_over=True))
    members = [name for group in groups for name in group]
    assert len(members) == len(set(members))
    for group in groups:
        assert len(group) > 1
        for left, right in itertools.pairwise(group):
            assert right.first == left.last + 1


@pytest.mark.parametrize(("extra", "n_groups"), [(0, 1), (1, 0)])
def test_a_merged_file_stays_within_the_target(extra: int, n_groups: int) -> None:
    sizes = dict.fromkeys(named([(0, 0, 0), (1, 1, 0)]), TARGET_BYTES // 2)
    first = next(iter(sizes))
    sizes[first] += extra
    assert len(list(merge_groups(sizes, is_over=True))) == n_groups
