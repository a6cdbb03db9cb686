"""The composite action of examples/ci, read as GitHub reads it and run step by step."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from example_store import build_store

CI = Path(__file__).resolve().parent.parent / "examples" / "ci"
BIN = Path(sys.executable).parent
ACTION = yaml.safe_load((CI / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")  # as `shell: bash` is run
TRAINING = """
import torch, sys
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(int(sys.argv[1])):
    loss = (model(torch.ones(4, 2)) - 3.0).square().mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
if len(sys.argv) > 2:
    raise SystemExit("crashed")
"""
pytestmark = pytest.mark.skipif(not (BIN / "telemetry").exists(), reason="telemetry not installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a job that used the action leaves behind."""

    code: int
    summary: str
    outputs: dict[str, str]
    log: str


def used(folder: Path, **inputs: str) -> Job:
    """A job with the action; names of inputs have underscores for hyphens."""
    known = {name: entry["default"] for name, entry in ACTION["inputs"].items()}
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    assert given.keys() <= known.keys()
    values = {**known, "package": "", **given}
    summary, output = folder / "summary.md", folder / "output"
    for path in (summary, output):
        path.write_text("", "utf-8")
    code, log = 0, ""
    for step in STEPS:
        if not wanted(str(step["if"]), values, failed=code != 0):
            continue
        variables = {name: filled(str(text), values) for name, text in step["env"].items()}
        done = subprocess.run(
            [*BASH, step["run"]],
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "OMP_NUM_THREADS": "1",
                "TMPDIR": str(folder),
                "GITHUB_ACTION_PATH": str(CI),
                "GITHUB_STEP_SUMMARY": str(summary),
                "GITHUB_OUTPUT": str(output),
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        code, log = code or done.returncode, log + done.stdout + done.stderr
    lines = output.read_text("utf-8").splitlines()
    return Job(
        code=code,
        summary=summary.read_text("utf-8"),
        outputs=dict(line.split("=", 1) for line in lines),
        log=log,
    )


def wanted(condition: str, values: dict[str, str], *, failed: bool) -> bool:
    """Whether a step runs, for the two kinds of conditions that the action has."""
    if condition == "${{ !cancelled() }}":
        return True
    found = re.fullmatch(r"inputs\.([\w-]+) != ''", condition)
    assert found is not None, condition
    return not failed and values[found[1]] != ""


def filled(text: str, values: dict[str, str]) -> str:
    found = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", text)
    assert found is not None, text
    return values[found[1]]


def expressions(node: object) -> Iterator[str]:
    """Every text of a document."""
    if isinstance(node, dict):
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)
    else:
        yield str(node)


def test_the_action_is_what_github_asks_of_one() -> None:
    assert ACTION.keys() == {"name", "description", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    for entry in (*ACTION["inputs"].values(), *ACTION["outputs"].values()):
        assert entry["description"]
    for step in STEPS:
        assert step.keys() <= {"name", "id", "if", "shell", "env", "run"}
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # a text of an input would become a command
    texts = " ".join(expressions(ACTION))
    assert set(re.findall(r"inputs\.([\w-]+)", texts)) == set(ACTION["inputs"])
    written = set(re.findall(r"report ([\w-]+-exit-code)", (CI / "report.sh").read_text("utf-8")))
    assert set(re.findall(r"steps\.report\.outputs\.([\w-]+)", texts)) == written
    assert set(ACTION["outputs"]) == written


@pytest.mark.slow
def test_a_store_is_diagnosed_and_compared_and_fails_as_asked(tmp_path: Path) -> None:
    build_store(tmp_path / "telemetry-runs")
    job = used(tmp_path, run="broken", base="base", metric="val_loss")
    assert (job.code, job.outputs) == (1, {"diagnose-exit-code": "0", "diff-exit-code": "1"})
    assert job.summary.index("### Diagnosis") < job.summary.index("non_finite")
    assert job.summary.index("### Comparison") < job.summary.index("**VERDICT**")
    job = used(tmp_path, run="broken", fail_on_finding="error")
    assert (job.code, job.outputs) == (1, {"diagnose-exit-code": "1"})
    assert "Comparison" not in job.summary
    assert used(tmp_path, run="base", base="wide").code == 0
    job = used(tmp_path, run="base", base="wide", fail_on_verdict="inconclusive")
    assert (job.code, job.outputs["diff-exit-code"]) == (3, "3"), job.log


@pytest.mark.slow
def test_mistakes_are_errors_whose_reason_is_in_the_log(tmp_path: Path) -> None:
    build_store(tmp_path / "telemetry-runs")
    job = used(tmp_path, run="$(touch stolen)", base="--output=stolen; touch stolen")
    assert (job.code, set(job.outputs.values())) == (2, {"2"})
    assert "telemetry: error: " in job.log
    assert job.summary.count("the log of the job says why") == 2
    assert not (tmp_path / "stolen").exists()
    assert used(tmp_path, run="--all").code == 2  # a name, not an option
    assert used(tmp_path, store="none").code == 2
    assert used(tmp_path, run="base", base="wide", margin="much").code == 2


@pytest.mark.slow
@pytest.mark.torch
def test_a_script_is_recorded_and_one_that_crashes_is_diagnosed_as_well(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINING, "utf-8")
    job = used(tmp_path, script="train.py 30")
    assert (job.code, job.outputs) == (0, {"diagnose-exit-code": "0"}), job.log
    assert "30 steps" in job.summary
    job = used(tmp_path, script="train.py 20 crash")
    assert job.code == 1
    assert "crashed" in job.log
    assert "20 steps" in job.summary
