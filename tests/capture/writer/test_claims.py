import dataclasses
import json
import os
import time
from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.capture.writer import claims
from telemetry.capture.writer.claims import Claim, claim_run
from telemetry.errors import CaptureError, UsageError
from telemetry.format.manifest import read_manifest
from telemetry.format.runs import claim_name
from telemetry.processes import this_process


def claim(store: Path, run: str | None = "r", *, rank: int = 0, strict: bool = False) -> Claim:
    return claim_run(store, "p", run, rank=rank, strict=strict)


def write_claim(folder: Path, *, attempt: int = 1, rank: int = 0, **changes: object) -> Path:
    """A claim file as another process would have left it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**dataclasses.asdict(this_process()), "ended": False, **changes}
    path = folder / claim_name(attempt, rank)
    path.write_text(json.dumps(content))
    return path


DEAD = {"process_start": 1}
ELSEWHERE = {"host": "elsewhere"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "project=p" / "run=r"


def grow_old(*paths: Path) -> None:
    hour_ago_s = time.time() - 3600
    for path in paths:
        os.utime(path, (hour_ago_s, hour_ago_s))


def test_a_new_run_is_the_first_attempt_of_this_process(tmp_path: Path, folder: Path) -> None:
    made = claim(tmp_path)
    assert (made.attempt, made.rank, made.conflict_of, made.previous) == (1, 0, None, None)
    assert made.ref.path == folder
    content = json.loads(made.path.read_text())
    assert content["pid"] == os.getpid()
    assert content["ended"] is False
    assert made.path.stat().st_mode & 0o137 == 0


def test_without_an_id_every_run_is_its_own(tmp_path: Path) -> None:
    one, other = claim(tmp_path, None), claim(tmp_path, None)
    assert one.ref.run != other.ref.run
    assert (one.attempt, other.attempt) == (1, 1)


@pytest.mark.parametrize("project", ["a=b", "../up", "x" * 300, "", "\x1b[31m", "a\nb"])
def test_a_hostile_project_stays_inside_the_store(tmp_path: Path, project: str) -> None:
    made = claim_run(tmp_path, project, None, rank=0, strict=False)
    assert made.ref.project == project
    assert made.ref.path.resolve().parent.parent == tmp_path.resolve()


def test_an_impossible_id_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 80 letters"):
        claim(tmp_path, "../r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [DEAD, {"ended": True}])
def test_a_run_whose_process_is_gone_or_done_goes_on(
    tmp_path: Path, folder: Path, left: dict[str, object]
) -> None:
    write_claim(folder, **left)
    assert claim(tmp_path).attempt == 2


def test_a_closed_run_is_opened_again_by_the_same_process(tmp_path: Path) -> None:
    first = claim(tmp_path)
    first.end()
    second = claim(tmp_path)
    assert (second.attempt, second.conflict_of) == (2, None)


def test_two_writers_of_one_id_become_two_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = claim(tmp_path), claim(tmp_path), claim(tmp_path)
    assert [c.ref.run for c in (first, second, third)] == ["r", "r.2", "r.3"]
    assert [c.conflict_of for c in (first, second, third)] == [None, "r", "r"]
    assert [c.attempt for c in (first, second, third)] == [1, 1, 1]
    assert len(caplog.records) == 2
    assert "run r: another process is writing it" in caplog.text


def test_strict_refuses_a_run_that_is_being_written(tmp_path: Path) -> None:
    claim(tmp_path)
    with pytest.raises(CaptureError, match="another process is writing it"):
        claim(tmp_path, strict=True)


def test_the_second_writers_name_is_never_the_resumption_of_an_earlier_one(
    tmp_path: Path, folder: Path
) -> None:
    claim(tmp_path)
    write_claim(folder.with_name("run=r.2"), **DEAD)
    assert claim(tmp_path).ref.run == "r.3"


def test_a_long_id_has_room_for_its_number(tmp_path: Path) -> None:
    run = "x" * 80
    claim(tmp_path, run)
    assert claim(tmp_path, run).ref.run == "x" * 75 + ".2"


def test_a_writer_on_another_host_lives_by_its_heartbeat(tmp_path: Path, folder: Path) -> None:
    path = write_claim(folder, **ELSEWHERE)
    assert claim(tmp_path).ref.run == "r.2"
    RunBuilder(tmp_path, run="r", project="p").write()
    grow_old(path)
    assert claim(tmp_path).ref.run == "r.3"  # its manifest was written just now
    grow_old(folder / "run.json")
    assert (claim(tmp_path).ref.run, claim(tmp_path).ref.run) == ("r", "r.4")


def test_a_claim_in_the_making_is_respected_and_a_torn_one_grows_old(
    tmp_path: Path, folder: Path
) -> None:
    folder.mkdir(parents=True)
    torn = folder / claim_name(1, 0)
    torn.touch()
    assert claim(tmp_path).ref.run == "r.2"
    grow_old(torn)
    again = claim(tmp_path)
    assert (again.ref.run, again.attempt) == ("r", 2)


def test_a_lost_race_for_the_claim_is_a_conflict(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = claims.write_synced

    def beaten(path: Path, content: bytes) -> None:
        monkeypatch.setattr(claims, "write_synced", real)
        write_claim(folder)
        real(path, content)

    monkeypatch.setattr(claims, "write_synced", beaten)
    made = claim(tmp_path)
    assert (made.ref.run, made.conflict_of) == ("r.2", "r")


def test_a_claim_that_can_never_be_had_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always_there(path: Path, content: bytes) -> None:
        raise FileExistsError(path, content)

    monkeypatch.setattr(claims, "write_synced", always_there)
    with pytest.raises(CaptureError, match="too many processes"):
        claim(tmp_path, strict=True)


def test_earlier_attempts_are_counted_by_the_manifest_too(tmp_path: Path, folder: Path) -> None:
    # an imported run has a manifest, but no claim files
    RunBuilder(tmp_path, run="r", project="p", attempt=3).write()
    made = claim(tmp_path)
    assert made.attempt == 4
    assert made.previous == read_manifest(folder)


def test_an_unreadable_manifest_is_never_overwritten(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"format": 99}')
    made = claim(tmp_path)
    assert (made.ref.run, made.conflict_of) == ("r.2", "r")
    assert (folder / "run.json").read_text() == '{"format": 99}'
    assert "its manifest is unreadable" in caplog.text


def test_a_run_folder_that_is_a_link_is_not_followed(tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder.parent.mkdir()
    folder.symlink_to(outside)
    assert claim(tmp_path).ref.run == "r.2"
    assert list(outside.iterdir()) == []


def test_ranks_of_one_training_share_an_attempt_whoever_comes_first(tmp_path: Path) -> None:
    assert [claim(tmp_path, rank=rank).attempt for rank in (1, 0, 2)] == [1, 1, 1]


def test_a_resumed_training_moves_on_with_all_ranks(tmp_path: Path, folder: Path) -> None:
    for rank in (0, 1, 2):
        write_claim(folder, rank=rank, **DEAD)
    assert [claim(tmp_path, rank=rank).attempt for rank in (1, 0, 2)] == [2, 2, 2]


def test_a_rank_that_was_not_there_before_does_not_join_the_dead(
    tmp_path: Path, folder: Path
) -> None:
    write_claim(folder, rank=0, **DEAD)
    assert claim(tmp_path, rank=5).attempt == 2


def test_ranks_meet_again_where_rank_zero_had_to_go(tmp_path: Path, folder: Path) -> None:
    for rank in (0, 1):
        write_claim(folder, rank=rank)
    assert [claim(tmp_path, rank=rank).ref.run for rank in (0, 1)] == ["r.2", "r.2"]


@pytest.mark.parametrize("name", ["mkdir", "claim"])
def test_a_store_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    target: tuple[object, str] = (Path, "mkdir") if name == "mkdir" else (claims, "write_synced")
    monkeypatch.setattr(*target, refuse)
    with pytest.raises(CaptureError, match=r"Permission denied.*TELEMETRY_STORE"):
        claim(tmp_path)


def test_a_file_where_the_store_should_be_says_what_to_do(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.touch()
    with pytest.raises(CaptureError, match=r"store.*Not a directory"):
        claim(store)


def test_a_claim_that_could_not_be_filled_is_not_left_behind(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CaptureError, match="No space left"):
        claim(tmp_path)
    assert not (folder / claim_name(1, 0)).exists()


def test_a_file_that_vanishes_is_infinitely_old(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(folder, **ELSEWHERE)
    real = Path.stat

    def gone(self: Path, **keywords: bool) -> os.stat_result:
        if self.name.startswith(".attempt") or self.name == "run.json":
            raise FileNotFoundError
        return real(self, **keywords)

    monkeypatch.setattr(Path, "stat", gone)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert claim(tmp_path).attempt == 2
