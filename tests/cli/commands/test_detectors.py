import json

import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry.cli.commands.detectors import sections
from telemetry.diagnose.detector import all_detectors
from telemetry.diagnose.tags import Tag

NAMES = [detector.id for detector in all_detectors()]


def test_every_detector_is_listed(telemetry: Telemetry, terminal: Terminal) -> None:
    lines = telemetry("detectors").out.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == NAMES
    terminal(80)
    shown = telemetry("detectors", "--no-color").out
    assert widest(shown) <= 80
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_detector_is_explained(name: str, telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry("detectors", name, "--no-color")
    assert done.code == 0
    assert done.out.startswith(f"{name}  ")
    assert widest(done.out) <= 80
    for word in ("Fix:", "try", "source"):
        assert word in done.out


def test_json_documents_every_detector(telemetry: Telemetry) -> None:
    document = validated("detectors", telemetry("detectors", "--json").out)
    assert [entry["id"] for entry in document["detectors"]] == NAMES
    one = json.loads(telemetry("detectors", "dead_units", "--json").out)["detectors"]
    assert [entry["id"] for entry in one] == ["dead_units"]
    assert "steps.loss" in one[0]["needs"]


def test_the_tags_are_listed_and_stand_on_the_pages_that_they_concern(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    document = validated("detectors", telemetry("detectors", "--json").out)
    tags = {entry["tag"]: entry for entry in document["tags"]}
    assert set(Tag) == set(tags)
    for entry in tags.values():
        for detector in all_detectors():
            assert (detector.id in entry["silenced"]) == (entry["tag"] in detector.silenced_by)
            assert (detector.id in entry["softened"]) == (entry["tag"] in detector.softened_by)
    assert tags["fine-tune"]["softened"] == ["learning_rate_too_low", "low_precision_updates"]
    terminal(80)
    shown = telemetry("detectors", "--tags", "--no-color").out
    assert widest(shown) <= 80
    assert all(tag in shown for tag in tags)
    assert "tag       mc-dropout" in telemetry("detectors", "train_eval_mode", "--no-color").out
    one = validated("detectors", telemetry("detectors", "train_eval_mode", "--json").out)
    assert [entry["tag"] for entry in one["tags"]] == ["mc-dropout"]


def test_an_unknown_detector_names_the_nearest(telemetry: Telemetry) -> None:
    done = telemetry("detectors", "exploding_gradients")
    assert done.code == 2
    assert "exploding_gradient" in done.err


def test_paragraphs_of_a_docstring_are_joined() -> None:
    doc = "What it is.\n\nSymptom: one\ntwo\nFix: three.\n\n\nMore\ntext.\n"
    assert sections(doc) == ["What it is.", "Symptom: one two", "Fix: three.", "More text."]
