"""The trainings of `telemetry demo`, in short."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from telemetry.cli.main import run as run_command
from telemetry.errors import CaptureError

pytestmark = pytest.mark.torch


@pytest.fixture
def demo() -> ModuleType:
    """It loads scikit-learn, which costs a second where tests are only collected."""
    from telemetry.capture.demo import __main__

    return __main__


def test_the_plan_holds_the_groups_the_faulty_run_and_a_sweep_of_twelve(
    demo: ModuleType,
) -> None:
    from telemetry.capture.demo.training import STEPS_PER_EVALUATION

    plan = demo.experiments()
    tags = [tag for experiment in plan for tag in experiment.tags]
    assert {tag: tags.count(tag) for tag in tags} == {"main": 3, "pr-12": 3, "faulty": 1}
    sweep = [each for each in plan if each.project == demo.SWEEP_PROJECT]
    assert len({(e.settings.learning_rate, e.settings.width) for e in sweep}) == 12
    assert len({each.name for each in plan}) == len(plan)
    evaluations = [each.steps // STEPS_PER_EVALUATION for each in plan]
    assert min(evaluations) >= 8


def test_seeds_of_both_groups_differ_in_the_regression_alone(demo: ModuleType) -> None:
    plan = demo.experiments()
    main = [each.settings for each in plan if "main" in each.tags]
    regressed = [each.settings for each in plan if "pr-12" in each.tags]
    weight_decay = main[0].weight_decay
    assert [replace(each, weight_decay=weight_decay) for each in regressed] == main
    assert all(each.weight_decay != weight_decay for each in regressed)


@pytest.mark.slow
def test_short_trainings_are_recorded_and_reported(
    demo: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_name = {each.name: each for each in demo.experiments()}
    short = [
        replace(by_name["main-seed0"], steps=30),
        replace(by_name["deep-sigmoid"], steps=25),
    ]
    monkeypatch.setattr(demo, "experiments", lambda: short)
    demo.main(["--store", str(tmp_path), "--json-progress"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "plan", "runs": 2, "steps": 55}
    assert sum(event.get("done", 0) for event in events) == 55
    reported = {event["run"]: event["name"] for event in events if event["event"] == "run"}
    assert run_command(["runs", "--json", "--store", str(tmp_path)]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert {run["run"]: run["name"] for run in runs} == reported
    assert {run["status"] for run in runs} == {"finished"}
    for run in runs:
        assert {"loss", "val_loss", "val_accuracy"} <= set(run["metrics"])
        assert run["config"]["batch_size"] == 64


def test_without_json_progress_nothing_is_written_to_stdout(
    demo: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "experiments", list)
    demo.main(["--store", str(tmp_path)])
    assert capsys.readouterr().out == ""


def test_a_store_that_cannot_be_written_ends_the_training_with_an_error(
    demo: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CaptureError, match="choose another --store"):
        demo.main(["--store", str(path)])
    assert "nothing is recorded" in caplog.text
