"""The catalogue of a store makes lists quicker, and never different."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import START, RunBuilder

from telemetry.format.manifest import Manifest, Status, parse_manifest
from telemetry.json_values import Json
from telemetry.store.files import catalogue_file
from telemetry.store.runs import kept_manifests
from telemetry.store.runs.catalog import list_runs, load_run, newest_runs, run_folders
from telemetry.store.runs.run import Run

Operation = Callable[[Path, str], None]


@pytest.fixture(autouse=True)
def small_stores_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_file, "FEWEST_RUNS", 1)


def later() -> datetime:
    """A moment at which every file of the test has lain untouched for long."""
    return datetime.now(UTC) + timedelta(days=1)


def catalogue(store: Path) -> Path:
    return store / ".telemetry" / kept_manifests.NAME


def written(store: Path, run: str, *, project: str = "demo", **values: object) -> Path:
    builder = RunBuilder(store=store, run=run, project=project, name=f"name of {run}")
    builder.environment = {"script": run}
    builder.summary.update({"note": float("nan"), **values})  # type: ignore[arg-type]
    return builder.write()


def read_alone(store: Path, now: datetime) -> list[Run]:
    """The same list, each manifest from its run."""
    found = [load_run(path, now=now) for path in run_folders(store)]
    return sorted(found, key=lambda run: (run.started, run.run), reverse=True)


def whole(run: Run) -> Run:
    """The run with ordinary mappings in the place of those that are read late."""
    if run.manifest is None:
        return run
    files, environment = dict(run.manifest.files), dict(run.manifest.environment)
    return replace(run, manifest=replace(run.manifest, files=files, environment=environment))


def plain(runs: list[Run]) -> list[str]:
    """Everything that is known of runs, as text: NaN equals itself there."""
    return [repr(whole(run)) for run in runs]


def check(store: Path) -> None:
    """Lists with what was kept, and with what is kept then, are the list of the manifests."""
    now = later()
    expected = plain(read_alone(store, now))
    assert plain(list_runs(store, now=now)) == expected
    assert plain(list_runs(store, now=now)) == expected
    assert plain(list(newest_runs(store, 2, now=now).runs)) == expected[:2]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    whole = kept_manifests.read_document

    def counted(folder: Path) -> object:
        read.append(folder)
        return whole(folder)

    monkeypatch.setattr(kept_manifests, "read_document", counted)
    return read


def test_a_run_that_is_over_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in "abc":
        written(tmp_path, run)
    RunBuilder(store=tmp_path, run="d").write(status=Status.RUNNING)
    read = count_reads(monkeypatch)
    list_runs(tmp_path, now=later())
    assert len(read) == 4
    runs = list_runs(tmp_path, now=later())
    assert [path.name for path in read[4:]] == ["run=d"]
    (a,) = [run for run in runs if run.run == "a"]
    assert a.manifest is not None
    assert a.manifest.environment == {"script": "a"}
    assert len(read) == 6


def test_what_was_written_a_moment_ago_is_not_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "a") / "run.json"
    now = datetime.now(UTC)
    for number in range(20):  # of one size, and some of one time stamp
        path.write_text(path.read_text().replace("name of", f"n{number:02}e of"))
        (run,) = list_runs(tmp_path, now=now)
        assert run.name == f"n{number:02}e of a"
        path.write_text(path.read_text().replace(f"n{number:02}e of", "name of"))
    assert not catalogue(tmp_path).exists()


def test_a_small_store_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_file, "FEWEST_RUNS", 3)
    written(tmp_path, "a")
    written(tmp_path, "b")
    list_runs(tmp_path, now=later())
    assert not (tmp_path / ".telemetry").exists()
    written(tmp_path, "c")
    list_runs(tmp_path, now=later())
    assert catalogue(tmp_path).exists()


def test_lines_of_deleted_runs_go_with_the_next_one_that_comes(tmp_path: Path) -> None:
    for run in "abc":
        written(tmp_path, run)
    list_runs(tmp_path, now=later())
    shutil.rmtree(tmp_path / "project=demo" / "run=b")
    written(tmp_path, "d")
    list_runs(tmp_path, now=later())
    places = [line.split(b"\t")[0] for line in catalogue(tmp_path).read_bytes().splitlines()[1:]]
    assert sorted(places) == [f"project=demo/run={run}".encode() for run in "acd"]


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    written(tmp_path, "a")
    (tmp_path / ".telemetry").write_text("a file")
    check(tmp_path)


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    elsewhere.mkdir()
    written(store, "a")
    (store / ".telemetry").symlink_to(elsewhere)
    check(store)
    assert list(elsewhere.iterdir()) == []


def test_a_pipe_in_the_place_of_the_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    written(tmp_path, "a")
    (tmp_path / ".telemetry").mkdir()
    os.mkfifo(catalogue(tmp_path))
    check(tmp_path)


def test_a_run_with_much_to_say_is_read_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "a", long="x" * catalogue_file.LINE_LIMIT_BYTES)
    written(tmp_path, "b")
    list_runs(tmp_path, now=later())
    read = count_reads(monkeypatch)
    list_runs(tmp_path, now=later())
    assert [path.name for path in read] == ["run=a"]


def test_a_catalogue_that_would_grow_too_large_leaves_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in "abc":
        written(tmp_path, run)
    monkeypatch.setattr(catalogue_file, "SIZE_LIMIT_BYTES", 2000)
    check(tmp_path)
    assert 0 < catalogue(tmp_path).stat().st_size < 2200


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "torn": lambda content: content[: len(content) // 2],
    "torn at a line": lambda content: content[: content.rindex(b"\n", 0, -1) + 1],
    "a digit": lambda content: content.replace(b'"steps":0', b'"steps":7'),
    "another version": lambda content: content.replace(b"catalogue 2", b"catalogue 1"),
    "garbage": lambda content: bytes(reversed(content)),
    "signed garbage": lambda _: signed(b"\xff\xfe\t1\t{}\nno fields\n"),
    "signed list": lambda content: signed(_with_text(content, b"\t[1]")),
    "signed nonsense": lambda content: signed(_with_text(content, b"\t{")),
}


def signed(body: bytes) -> bytes:
    """What a catalogue of these lines would be."""
    blank = catalogue_file.CatalogueFile(
        Path("/nowhere"), kept_manifests.NAME, version=kept_manifests.VERSION
    )
    return blank._head(body) + body


def _with_text(content: bytes, text: bytes) -> bytes:
    lines = [line.split(b"\t", 2) for line in content.splitlines()[1:]]
    return b"".join(b"\t".join([place, state, text]) + b"\n" for place, state, _ in lines)


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_catalogue_counts_for_nothing(tmp_path: Path, damage: str) -> None:
    for run in "abc":
        written(tmp_path, run)
    list_runs(tmp_path, now=later())
    content = catalogue(tmp_path).read_bytes()
    catalogue(tmp_path).write_bytes(DAMAGES[damage](content))
    assert catalogue(tmp_path).read_bytes() != content
    check(tmp_path)


def _manifest(store: Path, place: str) -> Path:
    return store / place / "run.json"


def _rewrite(store: Path, place: str) -> None:
    path = _manifest(store, place)
    raw = json.loads(path.read_text())
    raw["name"] = str(raw.get("name"))[::-1]
    replaced = path.with_suffix(".new")
    replaced.write_text(json.dumps(raw))
    replaced.replace(path)


def _rewrite_at_the_same_time(store: Path, place: str) -> None:
    """By rename, so that another file has the same size and time of change."""
    before = _manifest(store, place).stat()
    _rewrite(store, place)
    os.utime(_manifest(store, place), ns=(before.st_atime_ns, before.st_mtime_ns))


def _edit(store: Path, place: str) -> None:
    """In place; the next time stamp of the file system may not have come yet."""
    path = _manifest(store, place)
    before = path.stat()
    path.write_text(path.read_text().replace("name of", "mane of"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def _spoil(store: Path, place: str) -> None:
    _manifest(store, place).write_text('{"run": "x", "closed": true, "format": 99}')
    os.utime(_manifest(store, place), ns=(1, len(place)))


def _delete(store: Path, place: str) -> None:
    shutil.rmtree(store / place)


def _rename(store: Path, place: str) -> None:
    if not (store / f"{place}x").exists():
        (store / place).rename(store / f"{place}x")


def _copy(store: Path, place: str) -> None:
    shutil.copytree(store / place, store / f"{place}y", dirs_exist_ok=True)


def _forget(store: Path, _place: str) -> None:
    shutil.rmtree(store / ".telemetry", ignore_errors=True)


def _add(store: Path, place: str) -> None:
    if not (store / f"{place}z").exists():
        project, _, run = f"{place}z".partition("/")
        written(store, run.removeprefix("run="), project=project.removeprefix("project="))


OPERATIONS: tuple[Operation, ...] = (
    _rewrite,
    _rewrite_at_the_same_time,
    _edit,
    _spoil,
    _delete,
    _rename,
    _copy,
    _forget,
    _add,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3)), max_size=6))
def test_whatever_happens_to_a_store_its_list_is_that_of_the_manifests(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[Operation, int]]
) -> None:
    store = tmp_path_factory.mktemp("store")
    for project in ("demo", "a/../b ='\n", "null"):
        written(store, "a", project=project)
    check(store)
    for operation, number in story:
        places = sorted(str(path.relative_to(store)) for path in run_folders(store))
        if places:
            operation(store, places[number % len(places)])
        check(store)


def test_two_processes_that_write_at_once_leave_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in "abc":
        written(tmp_path, run)
    publish = catalogue_file.publish_bytes
    nested: list[int] = []

    def interrupted(path: Path, content: bytes) -> None:
        if not nested:
            nested.append(1)
            written(tmp_path, "d")
            list_runs(tmp_path, now=later())  # the other process, in the middle of this one
        publish(path, content)

    monkeypatch.setattr(catalogue_file, "publish_bytes", interrupted)
    list_runs(tmp_path, now=later())
    check(tmp_path)
    assert [path.name for path in (tmp_path / ".telemetry").iterdir()] == [kept_manifests.NAME]


def test_the_order_is_that_of_the_starts(tmp_path: Path) -> None:
    for run, hours in (("a", 1), ("b", 3), ("c", 2)):
        RunBuilder(store=tmp_path, run=run, started=START + timedelta(hours=hours)).write()
    for _ in range(2):
        assert [run.run for run in list_runs(tmp_path, now=later())] == ["b", "c", "a"]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_newest_runs_are_the_first_of_the_list(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run, hours in (("a", 1), ("b", 3), ("c", 2)):
        started = START + timedelta(hours=hours)
        RunBuilder(store=tmp_path, run=run, project=f"of {run}", started=started).write()
    listed = list_runs(tmp_path, now=later())
    parsed: list[str] = []

    def counted(raw: Mapping[str, Json], where: str) -> Manifest:
        parsed.append(where)
        return parse_manifest(raw, where=where)

    monkeypatch.setattr(kept_manifests, "parse_manifest", counted)
    found = newest_runs(tmp_path, limit, now=later())
    assert plain(list(found.runs)) == plain(listed[:limit])
    assert found.total == len(found.projects) == len(listed)
    assert len(parsed) == min(limit, len(listed))
