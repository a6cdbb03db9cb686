"""Deleting runs: the right folder, whole, and nothing that a link points to."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.upkeep.archive import delete_runs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for run in ("one", "two"):
        RunBuilder(store=tmp_path / "store", run=run).losses([1.0]).write()
    return Store.open(tmp_path / "store")


def left(store: Store) -> set[str]:
    return {run.run for run in store.runs()}


def test_a_deleted_run_is_gone_from_the_disk(store: Store) -> None:
    delete_runs(store, [store.select("one")])

    assert left(store) == {"two"}
    assert [path.name for path in store.path.rglob("*one*")] == []


def test_files_that_a_link_points_to_stay(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    run = store.select("one")
    (run.ref.path / "steps" / "link").symlink_to(outside)
    (run.ref.path / "file").symlink_to(outside / "precious")

    delete_runs(store, [run])

    assert (outside / "precious").read_text() == "keep me"


def test_a_running_run_needs_force(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path, run="one").losses([1.0])
    path = builder.write(status=Status.RUNNING)
    store = Store.open(tmp_path)
    run = replace(load_run(path), status=Status.RUNNING)

    with pytest.raises(UsageError, match="still running"):
        delete_runs(store, [run])
    assert path.exists()

    delete_runs(store, [run], force=True)
    assert not path.exists()


def test_nothing_is_deleted_when_one_of_the_runs_may_not_be(store: Store) -> None:
    good, bad = store.runs()
    bad = replace(bad, status=Status.RUNNING)

    with pytest.raises(UsageError):
        delete_runs(store, [good, bad])

    assert left(store) == {"one", "two"}


def moved_outside(store: Store, run: Run) -> Run:
    other = store.path.parent / "other" / "project=demo" / "run=one"
    other.parent.mkdir(parents=True)
    shutil.move(run.ref.path, other)
    return replace(run, ref=replace(run.ref, path=other))


def behind_a_link(store: Store, run: Run) -> Run:
    moved = moved_outside(store, run)
    run.ref.path.symlink_to(moved.ref.path)
    return run


def project_is_a_link(store: Store, run: Run) -> Run:
    outside = store.path.parent / "outside"
    shutil.move(run.ref.path.parent, outside)
    run.ref.path.parent.symlink_to(outside)
    return run


def other_name(_store: Store, run: Run) -> Run:
    path = run.ref.path.rename(run.ref.path.parent / "one")
    return replace(run, ref=replace(run.ref, path=path))


def other_manifest(_store: Store, run: Run) -> Run:
    manifest = json.loads((run.ref.path / "run.json").read_text())
    (run.ref.path / "run.json").write_text(json.dumps({**manifest, "run": "two"}))
    return run


def broken_manifest(_store: Store, run: Run) -> Run:
    (run.ref.path / "run.json").write_text("{")
    return run


def vanished(_store: Store, run: Run) -> Run:
    shutil.rmtree(run.ref.path)
    return run


@pytest.mark.parametrize(
    "change",
    [
        moved_outside,
        behind_a_link,
        project_is_a_link,
        other_name,
        other_manifest,
        broken_manifest,
        vanished,
    ],
)
def test_what_is_not_surely_the_run_is_refused(store: Store, change: object) -> None:
    run = change(store, store.select("one"))
    before = sorted(store.path.parent.rglob("*"))

    with pytest.raises(UsageError, match="is not deleted"):
        delete_runs(store, [run])

    assert sorted(store.path.parent.rglob("*")) == before


@pytest.mark.parametrize("place", [".telemetry", ".telemetry/trash"])
def test_a_trash_behind_a_link_is_refused(store: Store, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (store.path / place).parent.mkdir(exist_ok=True)
    (store.path / place).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError, match="is a link"):
        delete_runs(store, [store.select("one")])

    assert left(store) == {"one", "two"}


def test_a_store_that_cannot_be_written_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)

    with pytest.raises(StoreUnreadable, match="Permission denied"):
        delete_runs(store, [store.select("one")])


def test_files_that_stay_in_the_trash_are_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(39, os.strerror(39))

    monkeypatch.setattr(shutil, "rmtree", refuse)

    with pytest.raises(StoreUnreadable, match=r"are still in .*trash"):
        delete_runs(store, [store.select("one")])
    assert left(store) == {"two"}
