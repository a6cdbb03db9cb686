import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.errors import UsageError
from telemetry.format.runs import (
    ID_PATTERN,
    RunRef,
    ShardName,
    check_run_id,
    live_shards,
    new_run_id,
    new_shard_name,
    parse_shard_name,
    project_folder,
    publish_bytes,
    run_folder,
    sync_folder,
    write_synced,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "/abs",
    "a\0b",
    "a\nb",
    "a\n",
    "\x1b[31mred",
    "a=b",
    "%2e%2e",
    "\u202egnp",
    "x" * 300,
    "__HIVE_DEFAULT_PARTITION__",
    "'; DROP TABLE runs; --",
    "a b",
    "ключ",
    "-rf",
    ".hidden",
    "\ud800",
]
STEPS = st.integers(min_value=0, max_value=10**12 - 1)
TOKENS = st.text("0123456789abcdef", min_size=12, max_size=12)


def shard_names() -> st.SearchStrategy[ShardName]:
    return st.builds(
        lambda low, span, level, attempt, token: ShardName(
            first=low, last=low + span, level=level, attempt=attempt, token=token
        ),
        st.integers(0, 40),
        st.integers(0, 20),
        st.integers(0, 3),
        st.integers(1, 3),
        TOKENS,
    )


def test_a_generated_id_says_when_and_is_a_valid_id() -> None:
    run = new_run_id(NOW)
    assert run.startswith("20260102-030405-")
    assert check_run_id(run) == run
    assert not set(run[-6:]) & set("ilou")  # easily misread
    assert len({new_run_id(NOW) for _ in range(100)}) == 100


def test_the_short_id_is_the_random_part() -> None:
    ref = RunRef(project="p", run="20260102-030405-k3v9xz", path=Path("x"))
    assert ref.short == "k3v9xz"


@pytest.mark.parametrize("run", HOSTILE)
def test_an_id_that_is_no_folder_name_is_refused_with_the_pattern(run: str) -> None:
    with pytest.raises(UsageError, match="1 to 80 letters"):
        check_run_id(run)


@pytest.mark.parametrize("project", HOSTILE)
def test_any_project_name_becomes_one_harmless_folder(project: str) -> None:
    folder = project_folder(project)
    assert ID_PATTERN.fullmatch(folder)
    assert folder == project_folder(project)


@settings(deadline=None)
@given(st.text(), st.text())
def test_different_projects_have_different_folders(one: str, other: str) -> None:
    same = project_folder(one) == project_folder(other)
    assert same == (one == other)


def test_a_project_that_is_a_folder_name_is_kept() -> None:
    assert project_folder("resnet-18.v2") == "resnet-18.v2"


def test_a_run_lies_below_its_project() -> None:
    store = Path("store")
    assert run_folder(store, "p", "r1") == store / "project=p" / "run=r1"
    with pytest.raises(UsageError):
        run_folder(store, "p", "../r1")


@settings(deadline=None)
@given(STEPS, STEPS, st.integers(0, 99), st.integers(0, 0xFFFF), TOKENS)
def test_a_shard_name_reads_back(
    first: int, last: int, level: int, attempt: int, token: str
) -> None:
    shard = ShardName(first=first, last=last, level=level, attempt=attempt, token=token)
    assert parse_shard_name(str(shard)) == shard


def test_a_new_shard_name_has_a_token_of_its_own() -> None:
    one = new_shard_name(first=0, last=9, attempt=1)
    other = new_shard_name(first=0, last=9, attempt=1)
    assert one != other
    assert parse_shard_name(str(one)) == one


@pytest.mark.parametrize(
    "name",
    [
        "notes.csv",
        "x.parquet",
        ".000000000000-000000000009-L0-0001aaaaaaaaaaaa.parquet.part",
        "000000000000-000000000009-L0-0001aaaaaaaaaaaa.parquet\n",
        "000000000000-000000000009-L0-0001AAAAAAAAAAAA.parquet",
        "00000000000-000000000009-L0-0001aaaaaaaaaaaa.parquet",
        ".nfs0001",
    ],
)
def test_foreign_files_are_no_shards(name: str) -> None:
    assert parse_shard_name(name) is None
    assert live_shards([name]) == []


def replaces(other: ShardName, shard: ShardName) -> bool:
    """The dead-file rule, said pairwise."""
    if other.attempt != shard.attempt:
        return False
    if (other.level, other.first, other.last) == (shard.level, shard.first, shard.last):
        return str(other) < str(shard)
    return other.level > shard.level and other.first <= shard.first and other.last >= shard.last


@settings(deadline=None)
@given(st.lists(shard_names(), max_size=12))
def test_live_shards_are_those_that_no_other_replaces(shards: list[ShardName]) -> None:
    names = [str(shard) for shard in shards]
    expected = sorted(
        str(shard) for shard in set(shards) if not any(replaces(o, shard) for o in shards)
    )
    assert live_shards(names) == expected


def test_a_merged_shard_replaces_its_inputs_and_nobody_elses() -> None:
    def name(first: int, last: int, level: int, attempt: int, token: str) -> str:
        return str(
            ShardName(first=first, last=last, level=level, attempt=attempt, token=token * 12)
        )

    inputs = [name(0, 9, 0, 1, "a"), name(10, 19, 0, 1, "b")]
    merged, later = name(0, 19, 1, 1, "c"), name(20, 29, 0, 1, "d")
    other_attempt = name(10, 19, 0, 2, "e")
    twin = name(0, 19, 1, 1, "f")  # a second compactor lost the race
    names = [*inputs, merged, later, other_attempt, twin]
    assert live_shards(names) == sorted([merged, later, other_attempt])


def test_a_file_is_replaced_whole_and_readable_by_the_group_at_most(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    publish_bytes(path, b"one")
    publish_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o137 == 0


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_refused_replacement_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "run.json"
    publish_bytes(path, b"one")

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(OSError, match="Input/output"):
        publish_bytes(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    write_synced(path, b"mine")
    with pytest.raises(FileExistsError):
        write_synced(path, b"yours")
    assert path.read_bytes() == b"mine"


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    class Dribbling:
        def __init__(self, stream: BinaryIO) -> None:
            self.stream = stream

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, content: bytes) -> int:
            return self.stream.write(content[:3])

        def fileno(self) -> int:
            return self.stream.fileno()

    monkeypatch.setattr(os, "fdopen", lambda *a, **k: Dribbling(real(*a, **k)))
    write_synced(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(tmp_path)
    sync_folder(tmp_path / "gone")
