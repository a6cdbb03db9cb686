"""The command around a scripted training process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Telemetry, validated
from synthetic import RunBuilder

from telemetry.json_values import Json
from telemetry.store.store import Store

REPORT = """
import json, sys
store = sys.argv[sys.argv.index("--store") + 1]
for event in {events!r}:
    print(json.dumps(event), flush=True)
{ending}
"""
HEALTHY = ("20260102-030405-aaaaa1", "20260102-030405-aaaaa2", "20260102-030405-aaaaa3")
FAULTY = "20260102-030405-ffffff"


def child(tmp_path: Path, events: list[dict[str, Json]], ending: str = "") -> tuple[str, ...]:
    script = tmp_path / "child.py"
    script.write_text(REPORT.format(events=events, ending=ending), "utf-8")
    return (sys.executable, str(script))


def finished(run: str, name: str, *tags: str) -> dict[str, Json]:
    return {"event": "run", "run": run, "name": name, "project": "demo", "tags": list(tags)}


EVENTS: list[dict[str, Json]] = [
    {"event": "plan", "runs": 2, "steps": 40},
    {"event": "steps", "done": 20, "name": "convnet-0"},
    finished(HEALTHY[0], "convnet-0", "main"),
    {"event": "steps", "done": 20, "name": "deep-sigmoid"},
    finished(FAULTY, "deep-sigmoid", "faulty"),
]


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the training process by one that prints the events given and then does `ending`."""
    from telemetry.cli.commands import demo

    def replace_child(events: list[dict[str, Json]], ending: str = "") -> None:
        monkeypatch.setattr(demo, "CHILD", child(tmp_path, events, ending))

    return replace_child


def store_of_a_demo(store: Path) -> None:
    for run in HEALTHY:
        RunBuilder(store, run=run, name="convnet", tags=("main",)).losses([1.0, 0.5]).write()
    RunBuilder(store, run=FAULTY, name="deep-sigmoid").losses([2.3, 2.3]).write()


def test_the_diagnosis_of_the_faulty_run_is_shown_and_three_commands_to_try_come_last(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS)
    store = tmp_path / "a store"
    store_of_a_demo(store)
    done = telemetry("demo", "--store", str(store))
    lines = done.out.splitlines()
    commands = [line for line in lines if line.startswith("$ ")]
    assert commands == [
        f"$ telemetry diagnose {FAULTY[-6:]} --store '{store}'",
        f"$ export TELEMETRY_STORE='{store}'",
        "$ telemetry runs",
        "$ telemetry diff --base tag=main --candidate tag=pr-12",
        "$ telemetry sweep --project demo-sweep --metric val_loss",
    ]
    assert lines[-4:] == commands[-4:]


def test_every_run_of_a_demo_is_judged(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS)
    store_of_a_demo(tmp_path)
    telemetry("demo", "--store", str(tmp_path))
    runs = Store.open(tmp_path).runs()
    assert [run.finding_counts is not None for run in runs] == [True] * 4


def test_a_demo_that_shows_findings_ends_with_zero(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS)
    store_of_a_demo(tmp_path)
    assert telemetry("demo", "--store", str(tmp_path)).code == 0


def test_without_a_store_a_new_folder_is_named_and_the_usual_store_stays_as_it_is(
    tmp_path: Path,
    scripted: Callable[..., None],
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = tmp_path / "usual"
    monkeypatch.setenv("TELEMETRY_STORE", str(usual))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scripted(EVENTS)
    done = telemetry("demo")
    (folder,) = tmp_path.glob("telemetry-demo-*")
    assert f"2 runs in {folder}" in done.out
    assert not usual.exists()


def test_json_names_the_runs_and_shows_no_screen(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS)
    document = validated("demo", telemetry("demo", "--json", "--store", str(tmp_path)).out)
    assert document["store"] == str(tmp_path)
    assert [run["run"] for run in document["runs"]] == [HEALTHY[0], FAULTY]
    assert document["runs"][1]["tags"] == ["faulty"]


def test_no_progress_is_drawn_where_stderr_is_not_a_terminal(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS)
    assert telemetry("demo", "--json", "--store", str(tmp_path)).err == ""


def test_a_terminal_sees_a_bar_that_names_the_run_in_training(
    tmp_path: Path,
    scripted: Callable[..., None],
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    scripted(EVENTS)
    done = telemetry("demo", "--json", "--store", str(tmp_path))
    assert "deep-sigmoid" in done.err
    assert "40/40" in done.err
    assert "40/40" not in done.out


def test_a_training_that_fails_is_an_error_with_its_last_words(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted(EVENTS[:2], "sys.stderr.write('first\\nno space left\\n'); sys.exit(7)")
    done = telemetry("demo", "--store", str(tmp_path))
    assert done.code == 2
    assert done.out == ""
    assert "exit code 7: no space left" in done.err


def test_a_training_that_fails_without_a_word_is_an_error(
    tmp_path: Path, scripted: Callable[..., None], telemetry: Telemetry
) -> None:
    scripted([], "sys.exit(1)")
    done = telemetry("demo", "--store", str(tmp_path))
    assert done.code == 2
    assert "no message" in done.err


def test_missing_packages_are_one_error_that_names_what_to_install(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    done = telemetry("demo")
    assert done.code == 2
    assert "torch and sklearn" in done.err
    assert "pip install 'training-telemetry[demo]'" in done.err


def test_a_store_that_is_a_file_is_an_error(tmp_path: Path, telemetry: Telemetry) -> None:
    path = tmp_path / "file"
    path.touch()
    done = telemetry("demo", "--store", str(path))
    assert done.code == 2
    assert str(path) in done.err
