"""The example of a gate for CI runs as a job would run it, and stops what makes training worse."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parent.parent / "examples" / "ci"
BIN = Path(sys.executable).parent


def shell(folder: Path, script: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and output of a script of the example, as in a job of its own."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}
    environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    done = subprocess.run(
        ["sh", str(CI / script), *arguments],  # noqa: S607 - as a job runs it
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.skipif(not (BIN / "telemetry").exists(), reason="the command is not installed")
def test_a_change_that_makes_training_worse_fails_and_the_same_code_does_not(
    tmp_path: Path,
) -> None:
    code, said = shell(tmp_path, "baseline.sh", "baseline.json")
    assert code == 0, said
    code, said = shell(tmp_path, "gate.sh", "baseline.json")
    assert code == 0, said
    summary = tmp_path / "summary.md"
    code, said = shell(
        tmp_path,
        "gate.sh",
        "baseline.json",
        "--weight-decay",
        "3",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert code == 1, said
    assert said.startswith("::error title=telemetry diff%3A regression::val_loss +")
    assert "weight_decay 0.01" in summary.read_text("utf-8")
    assert 'failures="1"' in (tmp_path / "telemetry-diff.xml").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.torch
def test_a_training_that_crashes_is_not_called_a_regression(tmp_path: Path) -> None:
    code, said = shell(tmp_path, "gate.sh", "baseline.json", "--weight-decay", "none")
    assert code == 2, said


def test_the_workflow_runs_the_gate_and_keeps_its_result() -> None:
    workflow = (CI / "workflow.yml").read_text("utf-8")
    (script,) = re.findall(r"run: sh examples/ci/(\S+)", workflow)
    gate = (CI / script).read_text("utf-8")
    (result,) = re.findall(r"path: (\S+)", workflow)
    assert f"--junit {result}" in gate
