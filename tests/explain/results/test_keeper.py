"""What a run keeps of an answer is read as what anybody may have put there."""

import os
from pathlib import Path

import pytest

from telemetry.explain.results.keeper import Keeper
from telemetry.requests.models import Keep
from telemetry.store.files.kept_files import DOCUMENTS

PICTURE = "explain/images/one.png"


def keeper_of(run: Path) -> Keeper:
    return Keeper.of(Keep(run=str(run), files=str(run)))


def test_an_answer_is_known_as_long_as_its_files_are_there(tmp_path: Path) -> None:
    keeper = keeper_of(tmp_path)
    keeper.document("one", {"answer": "a", "image": PICTURE, "array": None})
    assert keeper.known("one") is None
    (tmp_path / PICTURE).parent.mkdir(parents=True)
    (tmp_path / PICTURE).write_bytes(b"")
    assert keeper.known("one") == {"answer": "a", "image": PICTURE, "array": None}
    assert keeper.known("two") is None


@pytest.mark.parametrize("place", ["{outside}", "explain/../../outside.png", "run.json"])
def test_an_answer_that_names_files_elsewhere_is_not_known(tmp_path: Path, place: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside.png"
    (run / "explain").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    outside.write_bytes(b"")
    keeper = keeper_of(run)
    keeper.document("one", {"image": place.format(outside=outside)})
    assert keeper.known("one") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_an_answer_is_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / DOCUMENTS
    place.mkdir(parents=True)
    os.mkfifo(place / "one.json")
    assert keeper_of(tmp_path).known("one") is None
