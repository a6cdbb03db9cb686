import os
from pathlib import Path

import numpy as np
import pytest
from asked_answers import keep_attribution
from synthetic import RunBuilder

from telemetry.evaluate.stored.explanations import find_explanation
from telemetry.explain.results.keeper import Keeper
from telemetry.requests.models import Keep
from telemetry.store.files.kept_files import BUDGET_BYTES, keep_within
from telemetry.store.store import Store

pytestmark = pytest.mark.torch


def file(folder: Path, name: str, size: int, *, age: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)  # takes no room on the disk
    os.utime(path, (10_000 - age, 10_000 - age))
    return path


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_oldest_pictures_make_way_and_arrays_last(tmp_path: Path) -> None:
    file(tmp_path, "arrays/oldest.npy", 40, age=99)
    file(tmp_path, "images/old.png", 30, age=9)
    file(tmp_path, "html/older.html", 30, age=10)
    file(tmp_path, "images/new.png", 30, age=1)
    spare = file(tmp_path, "images/last.png", 50, age=0)
    assert keep_within(tmp_path, spare, 180) == []
    removed = keep_within(tmp_path, spare, 125)
    assert [path.name for path in removed] == ["older.html", "old.png"]
    assert keep_within(tmp_path, spare, 60)[-1].name == "oldest.npy"
    assert left(tmp_path) == {"last.png"}


def test_what_was_written_last_stays_whatever_its_size(tmp_path: Path) -> None:
    spare = file(tmp_path, "images/last.png", 50, age=99)
    file(tmp_path, "images/other.png", 50, age=0)
    keep_within(tmp_path, spare, 10)
    assert left(tmp_path) == {"last.png"}


def test_a_link_is_neither_counted_nor_followed(tmp_path: Path) -> None:
    outside = file(tmp_path, "outside.png", 1_000, age=9)
    spare = file(tmp_path / "explain", "images/last.png", 5, age=0)
    spare.with_name("link.png").symlink_to(outside)
    assert keep_within(tmp_path / "explain", spare, 100) == []
    assert outside.stat().st_size == 1_000


def test_a_run_keeps_its_rows_and_says_that_a_picture_is_gone(tmp_path: Path) -> None:
    run = RunBuilder(store=tmp_path / "store").losses([1.0]).write()
    old = file(run, "explain/images/aaaabbbbccccdddd.png", BUDGET_BYTES, age=9)
    keep_attribution(run, "aaaabbbbccccdddd", image_path="explain/images/aaaabbbbccccdddd.png")
    store = Store.open(tmp_path / "store")
    assert find_explanation(store, "aaaa").picture == old
    keeper = Keeper.of(Keep(run=str(run), files=str(run)))
    place = keeper.array("new", np.zeros(4, dtype=np.float32))
    assert left(run / "explain") == {"new.npy"}
    assert place == "explain/arrays/new.npy"
    found = find_explanation(store, "aaaa")
    assert (found.image, found.picture) == ("explain/images/aaaabbbbccccdddd.png", None)
