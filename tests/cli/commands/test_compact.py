import os
import time
from pathlib import Path

import pytest
from command_line import Telemetry, validated
from many_shards import run_of
from two_shards import shards

from telemetry.store.upkeep.leftovers import AGE_S, remove_leftovers


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run with two shards of steps, in the store that commands look at."""
    store = tmp_path / "telemetry-runs"
    monkeypatch.setenv("TELEMETRY_STORE", str(store))
    return run_of(store, 2)


def test_files_become_one_and_the_screen_says_so(telemetry: Telemetry, two: Path) -> None:
    done = telemetry("compact", "--now")
    assert done.code == 0
    assert "2 -> 1" in done.out
    assert len(shards(two)) == 1
    again = telemetry("compact", "latest", "--json")
    (found,) = validated("compact", again.out)["runs"]
    assert (found["files_before"], found["files_after"]) == (1, 1)


def test_merged_files_stay_for_a_minute(telemetry: Telemetry, two: Path) -> None:
    assert telemetry("compact").code == 0
    assert len(shards(two)) == 3


def test_an_unknown_run_and_an_empty_store_are_errors(
    telemetry: Telemetry, two: Path, tmp_path: Path
) -> None:
    assert telemetry("compact", "absent").code == 2
    assert telemetry("--store", str(tmp_path / "nothing"), "compact").code == 2
    assert len(shards(two)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_store_that_cannot_be_written_is_named(telemetry: Telemetry, two: Path) -> None:
    two.chmod(0o500)
    done = telemetry("compact")
    assert done.code == 2
    assert two.name.removeprefix("run=") in done.err


def test_a_run_without_a_readable_manifest_is_named_and_left(
    telemetry: Telemetry, two: Path
) -> None:
    (two / "run.json").write_text("{")
    done = telemetry("compact")
    assert done.code == 0
    assert "run.json" in done.err
    assert len(shards(two)) == 2


@pytest.mark.parametrize(("age_s", "n_removed"), [(AGE_S - 5.0, 0), (AGE_S + 5.0, 1)])
def test_folders_that_never_became_a_run_go_after_an_hour(
    age_s: float, n_removed: int, two: Path
) -> None:
    never = two.parent / "run=20260102-030405-zzzzzz"
    (never / "steps" / "rank=0").mkdir(parents=True)
    (never / ".attempt-0001.rank-0").write_text("{}")
    now_s = never.stat().st_mtime + age_s
    assert remove_leftovers(two.parent.parent, now_s=now_s) == n_removed
    assert never.exists() is (n_removed == 0)
    assert two.exists()


def test_a_folder_with_rows_and_without_a_manifest_is_kept(two: Path) -> None:
    (two / "run.json").unlink()
    assert remove_leftovers(two.parent.parent, now_s=time.time() + 1e6) == 0
    assert len(shards(two)) == 2
