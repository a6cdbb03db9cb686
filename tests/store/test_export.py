"""Exports: whole and verified, or not made."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic import RunBuilder

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.store.export import FORMATS, export_run
from telemetry.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    builder = RunBuilder(store=tmp_path / "store", name="a,b\n'c'")
    builder.losses([3.0, float("nan"), 1.0]).event("attach", message='say "hi", twice')
    builder.parameter("fc.weight", shape=(2, 2), depth=0)
    builder.norm("fc.weight", "weight", 0, 2.0, n=4, hist=bytes(range(64)), hist_exp=3)
    builder.write()
    second = RunBuilder(store=tmp_path / "store", attempt=2)
    second.add("steps", step=2, loss=7.0, flags=1).write()
    return Store.open(tmp_path / "store")


def export(store: Store, target: Path, kind: str) -> dict[str, Path]:
    return {path.name: path for path in export_run(store, store.runs()[0], target, format=kind)}


@pytest.mark.parametrize("kind", FORMATS)
def test_each_view_with_rows_becomes_one_file(store: Store, tmp_path: Path, kind: str) -> None:
    files = export(store, tmp_path / "a" / "b", kind)

    names = ("steps", "events", "tensors", "layers", "tensor_stats")
    assert set(files) == {*(f"{name}.{kind}" for name in names), "run.json"}
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(files)


def test_parquet_keeps_types_and_hides_what_was_repeated(store: Store, tmp_path: Path) -> None:
    files = export(store, tmp_path / "out", "parquet")

    steps = pq.read_table(files["steps.parquet"])
    assert sorted(steps.column("step").to_pylist()) == [0, 1, 2]
    assert steps.filter(steps.column("attempt").to_numpy() == 2).column("loss").to_pylist() == [7.0]
    assert set(steps.column("run").to_pylist()) == {store.runs()[0].run}
    assert pq.read_table(files["tensor_stats.parquet"]).column("hist")[0].as_py() == bytes(
        range(64)
    )


def test_csv_quotes_text_and_writes_blobs_as_base64(store: Store, tmp_path: Path) -> None:
    files = export(store, tmp_path / "out", "csv")

    with files["events.csv"].open(newline="") as stream:
        (event,) = csv.DictReader(stream)
    with files["tensor_stats.csv"].open(newline="") as stream:
        (tensor,) = csv.DictReader(stream)
    with files["steps.csv"].open(newline="") as stream:
        losses = {row["step"]: row["loss"] for row in csv.DictReader(stream)}
    assert event["message"] == 'say "hi", twice'
    assert event["wall_time"].startswith("2026-01-02T03:04:05")
    assert tensor["hist"].startswith("AAECAw")
    assert tensor["scale"] == ""
    assert losses == {"0": "3.0", "1": "nan", "2": "7.0"}


def test_json_is_strict(store: Store, tmp_path: Path) -> None:
    files = export(store, tmp_path / "out", "json")

    document = json.loads(files["steps.json"].read_text())
    assert document["view"] == "steps"
    assert {row["step"]: row["loss"] for row in document["rows"]} == {0: 3.0, 1: "nan", 2: 7.0}
    assert json.loads(files["run.json"].read_text())["run"] == store.runs()[0].run


@pytest.mark.parametrize("taken", ["steps.csv", "run.json", "findings.csv"])
def test_nothing_is_overwritten(store: Store, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).symlink_to(tmp_path / "nowhere")

    with pytest.raises(UsageError, match="not overwritten"):
        export(store, tmp_path, "csv")

    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "layers.csv").exists()


def test_a_target_that_is_a_file_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")

    with pytest.raises(UsageError, match="needs a folder"):
        export(store, tmp_path / "out", "csv")


def test_an_unknown_format_names_the_known_ones(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parquet, csv, json"):
        export(store, tmp_path / "out", "xml")


@pytest.mark.parametrize("damage", ["page", "torn"])
def test_a_run_with_a_bad_shard_is_not_exported(store: Store, tmp_path: Path, damage: str) -> None:
    shard = next(store.path.rglob("steps/rank=0/*.parquet"))
    content = bytearray(shard.read_bytes())
    content[end_of_first_column(shard) - 3] ^= 0x01  # data, not the header of its page
    shard.write_bytes(content if damage == "page" else content[:-8])

    with pytest.raises(StoreUnreadable, match="cannot be trusted") as caught:
        export(store, tmp_path / "out", "csv")

    assert shard.name in str(caught.value)
    assert not (tmp_path / "out").exists()


def end_of_first_column(shard: Path) -> int:
    column = pq.read_metadata(shard).row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    return int(start + column.total_compressed_size)


def test_an_export_that_fails_leaves_no_half_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, _batch: object, **_options: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)

    with pytest.raises(StoreUnreadable, match="No space left"):
        export(store, tmp_path / "out", "parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_without_a_readable_manifest_is_exported_by_listing(
    store: Store, tmp_path: Path
) -> None:
    (store.runs()[0].ref.path / "run.json").write_text("")

    files = export(store, tmp_path / "out", "json")

    assert "run.json" not in files
    assert len(json.loads(files["steps.json"].read_text())["rows"]) == 3


def test_pictures_and_arrays_of_explanations_are_part_of_the_run(
    store: Store, tmp_path: Path
) -> None:
    run = store.runs()[0].ref.path
    for name in ("images/a.png", "arrays/a.npy"):
        (run / "explain" / name).parent.mkdir(parents=True)
        (run / "explain" / name).write_bytes(name.encode())
    (tmp_path / "secret").write_bytes(b"secret")
    (run / "explain" / "images" / "link.png").symlink_to(tmp_path / "secret")
    (run / "explain" / "html").symlink_to(tmp_path)
    files = export(store, tmp_path / "out", "csv")
    assert {name for name in files if name.startswith(("a.", "link", "secret"))} == {
        "a.npy",
        "a.png",
    }
    assert (tmp_path / "out" / "explain" / "images" / "a.png").read_bytes() == b"images/a.png"
    with pytest.raises(UsageError, match=r"not overwritten"):
        export(store, tmp_path / "out", "json")
