"""Children of multiprocessing that are started as fresh interpreters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from loops import records

from telemetry.format.manifest import Status, read_manifest

SCRIPT = Path(__file__).parents[1] / "support" / "spawning.py"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_that_imports_the_script_again_records_nothing(tmp_path: Path, method: str) -> None:
    """The script itself asserts that parent, child and worker train as without telemetry."""
    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), method],
        env={**os.environ, "TELEMETRY_STORE": str(store), "TELEMETRY_RUN_ID": "ours"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = (store / "project=default").iterdir()
    assert run.name == "run=ours"
    manifest = read_manifest(run)
    assert (manifest.status, len(manifest.attempts)) == (Status.FINISHED, 1)
    steps = records(run, "steps")
    assert [row["step"] for row in steps] == list(range(8))
    assert {row["backward_calls"] for row in steps} == {1}
    metrics = [row["step"] for row in records(run, "metrics") if row["name"] == "val_loss"]
    assert metrics == list(range(8))
    assert "telemetry_error" not in {row["kind"] for row in records(run, "events")}
