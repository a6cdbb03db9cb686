"""The examples of a folder of their own: trained as a reader would, then asked what went wrong."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from telemetry.cli.main import run
from telemetry.explain.__main__ import answer_to
from telemetry.requests.explain.input import KIND as INPUT
from telemetry.requests.explain.input import InputRequest, InputSettings
from telemetry.requests.models import ModelSource

pytestmark = [pytest.mark.torch, pytest.mark.slow]

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "explained"
# Which part the worst answers are due to, and the least accuracy.
PLANTED = {
    "digits": {"r0c4", "r0c5", "r1c4", "r1c5"},
    "reviews": {"5:translated"},
    "patients": {"ward"},
}


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_an_example_is_wrong_for_the_reason_that_it_says(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(FOLDER / f"{name}.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path / "runs"))
    runpy.run_path(f"{name}.py", run_name="__main__")
    assert "now: telemetry evaluate latest" in capsys.readouterr().out
    assert run(["runs", "--json"]) == 0
    (recorded,) = json.loads(capsys.readouterr().out)["runs"]
    assert recorded["name"] == name
    folder = next((tmp_path / "runs").glob("project=*/run=*"))
    said = json.loads((folder / "run.json").read_text("utf-8"))["explain"]
    weights = max(tmp_path.glob(said["checkpoint"]))
    source = ModelSource(model=said["model"], dataset=said["dataset"], checkpoint=str(weights))
    worst = worst_examples(source)
    request = InputRequest(source=source, examples=worst, settings=InputSettings(check=False))
    answer = answer_to(json.loads(json.dumps(INPUT.document(request))))
    named = [attribution["top"][0]["segment"] for attribution in answer["attributions"]]
    assert sum(part in PLANTED[name] for part in named) >= 4, named


def worst_examples(source: ModelSource) -> tuple[str, ...]:
    """Ids of the five wrong answers of the largest loss."""
    from telemetry.requests.evaluate import KIND, EvaluateRequest

    request = EvaluateRequest(source=source)
    answer = answer_to(json.loads(json.dumps(KIND.document(request))))
    (evaluation,) = answer["evaluations"]
    assert 0.6 <= evaluation["accuracy"] <= 0.95
    return tuple(row["example_id"] for row in evaluation["worst"][:5])


def test_there_is_an_example_of_each_kind() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PLANTED)
