"""Replays as child processes: how each ends, and that none outlives the command."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from telemetry.trials.children import Conditions, Ended, Interrupted, Job, run_jobs
from telemetry.trials.replay import CommandLine

REPORT = """
import json, os
trial = json.loads(os.environ["TELEMETRY_TRIAL"])
open(trial["report"], "w").write(json.dumps({"run": "r", "n_steps": 3}))
"""
WAITING = "import time\ntime.sleep(600)\n"


def _conditions(folder: Path, script: str, *, timeout_s: float = 60.0) -> Conditions:
    place = folder / "code"
    place.mkdir()
    (place / "train.py").write_text(script, "utf-8")
    (folder / "work").mkdir()
    command = CommandLine(words=(sys.executable, "train.py"), folder=place, variables={})
    return Conditions(
        command=command,
        steps=3,
        timeout_s=timeout_s,
        work=folder / "work",
        store=folder / "store",
    )


def _one(folder: Path, script: str, *, timeout_s: float = 60.0) -> Ended:
    conditions = _conditions(folder, script, timeout_s=timeout_s)
    (ended,) = run_jobs([Job()], conditions, n_jobs=1, done=lambda _done, _of: None)
    return ended


def test_a_replay_reports_and_leaves_the_working_directory_alone(tmp_path: Path) -> None:
    script = f"{REPORT}\nopen('weights.pt', 'w').write('x')\nos.remove('train.py')\n"
    ended = _one(tmp_path, script)
    assert ended.failure is None
    assert ended.report is not None
    assert ended.report.n_steps == 3
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["train.py"]
    assert not (tmp_path / "work" / "000" / "work").exists()  # a copy for each would fill a disk


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise KeyError('data')", "ended with exit code 1: KeyError: 'data'"),
        ("input()", "exit code 1: EOFError: EOF when reading a line"),
        ("import sys; sys.exit(3)", "ended with exit code 3: it said nothing"),
        ("print('nothing')", "no training step was seen"),
    ],
)
def test_a_script_that_fails_is_told_by_its_last_words(
    tmp_path: Path, script: str, reason: str
) -> None:
    ended = _one(tmp_path, script)
    assert ended.failure is not None
    assert reason in ended.failure


def test_a_script_that_never_ends_is_ended(tmp_path: Path) -> None:
    ended = _one(tmp_path, WAITING, timeout_s=0.2)
    assert ended.failure == "it did not end within 0 s"


def test_workers_end_with_their_script(tmp_path: Path) -> None:
    waiting = f"[sys.executable, '-S', '-c', {WAITING!r}]"
    script = (
        f"{REPORT}\nimport subprocess, sys\nchild = subprocess.Popen({waiting})\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "os._exit(0)\n"
    )
    assert _one(tmp_path, script).failure is None
    assert _is_gone(int((tmp_path / "pid").read_text("utf-8")))


@pytest.mark.parametrize("by", [None, signal.SIGTERM])
def test_an_interrupt_ends_what_runs_and_keeps_what_had_ended(
    by: signal.Signals | None, tmp_path: Path
) -> None:
    script = f"""{REPORT}
if trial["seed_offset"]:
    open({str(tmp_path)!r} + "/pid", "w").write(str(os.getpid()))
    import time; time.sleep(600)
while not os.path.exists({str(tmp_path)!r} + "/pid"):
    pass
"""

    def interrupt(_done: int, _of: int) -> None:
        if by is None:
            raise KeyboardInterrupt
        os.kill(os.getpid(), by)

    jobs = [Job(), Job(seed_offset=1), Job(seed_offset=2)]
    with pytest.raises(Interrupted) as caught:
        run_jobs(jobs, _conditions(tmp_path, script), n_jobs=2, done=interrupt)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert [one.job for one in caught.value.ended] == [Job()]
    assert _is_gone(int((tmp_path / "pid").read_text("utf-8")))


def _is_gone(number: int) -> bool:
    """Whether a process has ended, perhaps not yet collected by whoever inherits it."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return os.name == "nt"
