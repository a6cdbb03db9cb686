"""`telemetry explain RUN`: one page of what is wrong, from what is stored and what is missing."""

import re
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "people", "in_process")]

MODULE = """
from planted_table import People, trained

build = lambda: trained(leaks=True)
valid = lambda: People(400, 2, leaks=True)
train = lambda: People(400, 1, train=True, leaks=True)
"""
PARTS = ("--model", "clinic:build", "--dataset", "clinic:valid")


@pytest.fixture
def people(example: Path) -> None:
    """A model that learned a leaking code, as a user would name it."""
    (example.parent / "clinic.py").write_text(MODULE, "utf-8")


def summary(telemetry: Telemetry, *words: object) -> dict[str, object]:
    done = telemetry("explain", "base", *PARTS, *words, "--json")
    assert done.code == 0, done.err
    return dict(validated("explain", done.out)["summary"])


def test_one_word_sums_up_the_cause_of_the_wrong_answers(telemetry: Telemetry) -> None:
    found = summary(telemetry)
    assert (found["examples"], len(found["wrong_answers"])) == (400, 20)  # type: ignore[arg-type]
    (first, *_) = found["leaders"]  # type: ignore[misc]
    assert first["part"] == "code"
    assert first["n"] >= 19
    assert f"code leads in {first['n']} of 20 wrong answers" in str(found["answer"])
    assert {one["label"] for one in found["confusions"]} == {"no", "yes"}  # type: ignore[attr-defined]
    assert "sure" in str(found["calibration"]["sentence"])  # type: ignore[index]
    shown = telemetry("explain", "show", first["ids"][0])
    assert "code" in shown.out


def test_what_is_stored_is_not_asked_again(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = summary(telemetry)

    def refuse(*_: object) -> None:
        raise AssertionError("the model was run again")

    monkeypatch.setattr("telemetry.cli.models.child._run", refuse)
    assert summary(telemetry) == before


def test_people_get_a_screen_and_a_page(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(100)
    done = telemetry("explain", "base", *PARTS, "--html", "page.html", "--no-color")
    assert done.code == 0
    for word in ("calibration", "confused", "groups", "training", "LEADS WRONG ANSWERS"):
        assert word in done.out
    page = Path("page.html").read_text("utf-8")
    assert "code leads in" in page
    for question in ("leads its wrong answers", "groups are worst", "right as it is sure"):
        assert question in page
    shown = re.findall(r'<div id="(\w+)" class=""><figure><img alt="example', page)
    assert len(shown) == 20
    assert set(re.findall(r'href="#(\w+)"', page)) == set(shown)
    assert "<svg" in page


def test_a_training_set_that_was_named_is_compared_once(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = summary(telemetry, "--train", "clinic:train")
    (gap,) = found["gaps"]  # type: ignore[misc]
    assert "code" in gap["answer"]
    assert gap["lacks"][0] in gap["answer"]
    assert str(found["answer"]).endswith("; training lacks code = 1 and label = no")
    assert len(set(gap["lacks"])) == len(gap["lacks"]) <= 3

    def refuse(*_: object) -> None:
        raise AssertionError("the model was run again")

    monkeypatch.setattr("telemetry.cli.models.child._run", refuse)
    assert summary(telemetry, "--train", "clinic:train") == found


def test_a_part_that_is_mistyped_is_no_run(telemetry: Telemetry) -> None:
    done = telemetry("explain", "imput", "base", "--example", 0)
    assert done.code == 2
    assert "imput" in done.err


def test_without_a_model_what_is_stored_is_told_and_the_rest_named(telemetry: Telemetry) -> None:
    telemetry("evaluate", "base", *PARTS)
    done = telemetry("explain", "base", "--json")
    found = validated("explain", done.out)["summary"]
    assert found["wrong_answers"] == []
    assert any("no model was given" in note for note in found["notes"])
    assert len(found["unexplained"]) == 20
