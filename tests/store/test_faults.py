"""Sessions over stores that were damaged, moved or written by others."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import RunBuilder
from two_shards import STEPS, break_pages, read, record_files, run_with_two_shards, shards

from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Status, read_manifest, write_manifest
from telemetry.format.runs import new_shard_name
from telemetry.store.sessions import binding, session
from telemetry.store.store import Store
from telemetry.store.user_sql.query import query_runs


def cut(n_bytes: int) -> Callable[[Path], None]:
    """Keep the first bytes, or all but the last ones."""

    def apply(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:n_bytes])

    return apply


def flip_in_footer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    content[-200] ^= 0xFF
    path.write_bytes(content)


def huge_footer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8:-4] = (0x7FFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)


def half(path: Path) -> None:
    cut(path.stat().st_size // 2)(path)


@pytest.mark.parametrize(
    "damage",
    [cut(0), cut(4), half, cut(-8), cut(-4), huge_footer],
    ids=["empty", "magic", "half", "-8", "-4", "huge footer"],
)
def test_a_torn_shard_is_skipped_and_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    torn = shards(run_with_two_shards(tmp_path))[0]
    damage(torn)

    rows, warnings = read(tmp_path)

    assert rows.ints("step").tolist() == [5, 6, 7, 8, 9]
    assert len(warnings) == 1
    assert torn.name in warnings[0]
    assert "skipped" in warnings[0]


def test_a_flipped_footer_never_gives_wrong_rows(tmp_path: Path) -> None:
    torn = shards(run_with_two_shards(tmp_path))[0]
    flip_in_footer(torn)

    rows, warnings = read(tmp_path)

    assert rows.ints("step").tolist()[-5:] == [5, 6, 7, 8, 9]
    assert len(rows) == 10 or torn.name in warnings[0]


@settings(
    deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), n_kept=st.floats(0.2, 1))
def test_no_damage_ends_in_a_traceback(
    tmp_path: Path, place: float, value: int, n_kept: float
) -> None:
    store = tmp_path / "store"
    if not store.exists():
        run_with_two_shards(store)
    torn = shards(next(store.glob("*/*")))[0]
    sound = torn.read_bytes()
    damaged = bytearray(sound)
    damaged[int(place * len(damaged))] = value
    torn.write_bytes(damaged[: int(n_kept * len(damaged))])
    try:
        opened = Store.open(store)
        rows, warnings = read(store)
        typed = query_runs(opened, STEPS)
    finally:
        torn.write_bytes(sound)

    assert len(rows) == 10 or torn.name in warnings[0]
    assert typed.arrow.num_rows == 10 or torn.name in typed.warnings[0]


def test_a_shard_that_breaks_after_it_was_listed_is_skipped_and_named(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    record_files(path)
    torn = shards(path)[0]
    half(torn)  # the manifest says its version, so no footer is read before DuckDB does

    rows, warnings = read(tmp_path)

    assert rows.ints("step").tolist() == [5, 6, 7, 8, 9]
    assert torn.name in warnings[0]


def test_a_shard_with_a_sound_footer_and_broken_pages_is_skipped_and_named(tmp_path: Path) -> None:
    torn = shards(run_with_two_shards(tmp_path))[0]
    break_pages(torn)

    rows, warnings = read(tmp_path)

    assert rows.ints("step").tolist() == [5, 6, 7, 8, 9]
    assert torn.name in warnings[0]


def test_foreign_files_are_ignored_and_named(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    folder = path / "steps" / "rank=0"
    (folder / "notes.csv").write_text("step\n1\n")
    (folder / ".000-half.parquet.part").write_text("being written")
    pq.write_table(pa.table({"step": [1]}), folder / "x.parquet")
    pq.write_table(
        pa.table({"step": [1]}), folder / str(new_shard_name(first=20, last=29, attempt=1))
    )
    (path / "steps" / "rank=x").mkdir()
    (path / "steps" / "evil\x1b[31m").mkdir()

    rows, warnings = read(tmp_path)

    assert len(rows) == 10
    assert len(warnings) == 5
    for part in ("notes.csv", "x.parquet", "not written by telemetry", "rank=x", "evil"):
        assert part in "\n".join(warnings)
    assert "\x1b" not in "\n".join(warnings)


def test_a_file_of_another_table_is_skipped_and_named(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    RunBuilder(store=tmp_path).metric("a", {1: 2.0}).write()
    stray = shards(path, "metrics")[0].rename(
        path / "steps" / "rank=0" / str(new_shard_name(first=20, last=29, attempt=1))
    )

    rows, warnings = read(tmp_path)

    assert len(rows) == 10
    assert len(warnings) == 1
    assert f"{stray.name} skipped: column elapsed_s is missing" in warnings[0]


@pytest.mark.parametrize("listed", [True, False], ids=["in the manifest", "by its footer"])
def test_a_column_of_another_type_is_named_and_the_other_shards_are_read(
    tmp_path: Path,
    listed: bool,  # noqa: FBT001 - a case
) -> None:
    bad, good = shards(run_with_two_shards(tmp_path))
    rows = pq.read_table(bad)
    place = rows.column_names.index("loss")
    texts = pa.array(["x"] * rows.num_rows)
    pq.write_table(rows.set_column(place, "loss", texts), bad)
    folder = bad.parents[2]
    entry = {"path": f"steps/rank=0/{bad.name}", "rows": 5, "schema": 1}
    files = {"steps": [entry]} if listed else {}
    write_manifest(folder, replace(read_manifest(folder), files=files))

    rows, warnings = read(tmp_path, "SELECT step, loss FROM steps ORDER BY step")

    assert rows.ints("step").tolist() == [5, 6, 7, 8, 9]
    assert [good.name in warning for warning in warnings] == [False]
    assert f"{bad.name} skipped: column loss is string, expected double." in warnings[0]


@pytest.mark.parametrize("what", ["shard", "rank", "table"])
def test_links_are_not_followed(tmp_path: Path, what: str) -> None:
    path = run_with_two_shards(tmp_path / "store")
    inside = {
        "shard": shards(path)[0],
        "rank": path / "steps" / "rank=0",
        "table": path / "steps",
    }[what]
    outside = tmp_path / "outside" / inside.name
    outside.parent.mkdir()
    shutil.move(inside, outside)
    inside.symlink_to(outside)

    rows, warnings = read(tmp_path / "store")

    assert len(rows) == (5 if what == "shard" else 0)
    assert "link" in warnings[0]


def test_a_run_folder_that_is_a_link_is_not_a_run(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path / "store")
    RunBuilder(store=tmp_path / "store", run="other").write()
    shutil.move(path, tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")

    assert [run.run for run in Store.open(tmp_path / "store").runs()] == ["other"]


def test_a_shard_deleted_under_a_bound_view_is_listed_again(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)
    sql = "SELECT COUNT(*) AS n FROM raw_steps"

    with opened.session(opened.runs()) as found:
        assert found.query(sql).ints("n")[0] == 10
        shards(path)[0].unlink()
        assert found.query(sql).ints("n")[0] == 5


def test_a_run_deleted_while_it_is_read_leaves_the_others(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    run_with_two_shards(tmp_path, run="other")
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found:
        assert len(found.query("SELECT step FROM raw_steps")) == 20
        shutil.rmtree(path)
        assert len(found.query("SELECT step FROM raw_steps")) == 10
        assert f"{path.name.removeprefix('run=')} disappeared while it was read." in found.warnings


def test_shards_that_never_stay_end_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)
    tries = []

    def vanish(_connection: object, _schema: object, _files: object) -> None:
        tries.append(1)
        shard = shards(tmp_path / "project=demo" / f"run={opened.runs()[0].run}")[0]
        shard.rename(shard.with_name(str(new_shard_name(first=0, last=len(tries), attempt=1))))
        raise session.duckdb.IOException("No files found")

    monkeypatch.setattr(binding.ParquetFiles, "bind", staticmethod(vanish))

    with opened.session(opened.runs()) as found, pytest.raises(StoreUnreadable, match="try again"):
        found.query(STEPS)
    assert len(tries) == session.READ_TRIES


def test_missing_shards_are_counted(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    record_files(path)
    shards(path)[0].unlink()

    rows, warnings = read(tmp_path)

    assert len(rows) == 5
    assert warnings == (f"{path.name.removeprefix('run=')}/steps/rank=0: 1 of 2 shards missing.",)


def test_a_merged_shard_replaces_what_it_covers(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    merged = pa.concat_tables([pq.read_table(p, partitioning=None) for p in shards(path)])
    name = new_shard_name(first=0, last=4, attempt=1, level=1)
    metadata = pq.read_schema(shards(path)[0]).metadata
    shards(path)[1].unlink()
    pq.write_table(merged.replace_schema_metadata(metadata), path / "steps" / "rank=0" / str(name))

    rows, warnings = read(tmp_path)

    assert len(rows) == 10
    assert warnings == ()


@pytest.mark.parametrize(
    "manifest", ["", '{"half": ', "[1, 2]", "{}", '{"format": 99}', "deep"], ids=str
)
def test_a_run_with_a_broken_manifest_is_listed_with_the_reason_and_read_by_listing(
    tmp_path: Path, manifest: str
) -> None:
    path = run_with_two_shards(tmp_path)
    text = "[" * 100_000 if manifest == "deep" else manifest
    (path / "run.json").write_text(text)

    (run,) = Store.open(tmp_path).runs()
    rows, warnings = read(tmp_path)

    assert run.status is Status.UNREADABLE
    assert "run.json" in run.reason
    assert len(rows) == 10
    assert len(warnings) == 1
    assert "run.json" in warnings[0]


def test_attempts_are_rebuilt_from_shards_where_the_manifest_is_broken(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).losses([5.0] * 6).write()
    second = RunBuilder(store=tmp_path, attempt=2)
    for step in (3, 4):
        second.add("steps", step=step, loss=1.0, flags=1)
    second.write()
    (path / "run.json").write_text("")

    rows, _ = read(tmp_path)

    assert rows.floats("loss").tolist() == [5.0, 5.0, 5.0, 1.0, 1.0]


def test_rows_of_a_newer_version_show_the_columns_that_are_known(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    newer = shards(path)[0]
    rows = pq.read_table(newer, partitioning=None)
    metadata = {**rows.schema.metadata, b"telemetry.schema": b"99"}
    rows = rows.append_column("from_the_future", pa.array([7] * len(rows)))
    pq.write_table(rows.replace_schema_metadata(metadata), newer)

    found, warnings = read(tmp_path)

    assert len(found) == 10
    assert "newer version (schema 99" in warnings[0]


@pytest.mark.parametrize(
    ("folder", "project", "run"),
    [
        ("step=5", "demo", "mine"),
        ("run=zz", "demo", "mine"),
        ("plain", "null", "NULL"),
        ("it's [1] *?{x}", "demo", "mine"),
        ("plain", "__HIVE_DEFAULT_PARTITION__", "007"),
        ("plain", "'; DROP TABLE runs; --", "2024-01-01"),
        ("plain", "../../etc", "CON"),
        ("plain", "a=b\n\x1b[31m%2e\u202e" + "x" * 300, "1e5"),
    ],
)
def test_names_of_folders_and_projects_never_change_what_is_read(
    tmp_path: Path, folder: str, project: str, run: str
) -> None:
    store = tmp_path / folder / "store"
    RunBuilder(store=store, project=project, run=run, name=project).losses([1.0] * 3).write()
    opened = Store.open(store)

    with opened.session(opened.runs()) as found:
        rows = found.query("SELECT s.*, r.name FROM steps AS s JOIN runs AS r USING (project, run)")

    assert rows.ints("step").tolist() == [0, 1, 2]
    assert set(rows.texts("run")) == {run}
    assert set(rows.texts("project")) == {opened.runs()[0].ref.project}
    assert set(rows.texts("name")) == {project}


def test_a_name_that_is_no_unicode_is_shown_without_the_broken_part(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).losses([1.0]).write()
    manifest = json.loads((path / "run.json").read_text())
    manifest["name"] = "half \ud800"
    (path / "run.json").write_text(json.dumps(manifest))

    rows, _ = read(tmp_path, "SELECT name FROM runs")

    assert rows.texts("name") == ["half ?"]


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_with_two_shards(tmp_path)
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "rank=0":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)

    rows, warnings = read(tmp_path)

    assert len(rows) == 0
    assert warnings == (
        f"{path.name.removeprefix('run=')}/steps/rank=0 skipped: Permission denied.",
    )
