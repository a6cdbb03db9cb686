"""Scripts run alone and by `telemetry record`: nothing but the store tells them apart.

A few processes, each of which answers several questions: torch takes a second to load.
"""

import signal
from pathlib import Path

import pytest
from loops import records
from script_processes import RECORD, ended, started

from telemetry.format.manifest import Status, read_manifest
from telemetry.requests.record import start_file_is_installed

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not start_file_is_installed(), reason="telemetry is not installed by pip"),
]

TRAIN = """
import os, pickle, signal, sys
import torch
from torch import nn

class Held:
    pass

torch.manual_seed(0)
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 3)).square().mean()
    loss.backward()
    optimizer.step()
print(loss.item(), sys.argv, __file__, sys.path[0], __name__, __package__, sys.stdin.read())
print(type(pickle.loads(pickle.dumps(Held()))), os.getcwd(), sys.flags, flush=True)
if "exit" in sys.argv:
    sys.exit(7)
if "fail" in sys.argv:
    raise ValueError("on purpose")
if "quit" in sys.argv:
    os._exit(5)
if "wait" in sys.argv:
    signal.pause()
"""
LAUNCH = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "with space"
    (place / "package").mkdir(parents=True)
    (place / "my train.py").write_text(TRAIN, "utf-8")
    (place / "package" / "train.py").write_text(TRAIN, "utf-8")
    (place / "launch.py").write_text(LAUNCH, "utf-8")
    return place


def recorded(folder: Path) -> list[tuple[str, int]]:
    """Status and number of steps of each run."""
    runs = sorted((folder / "store").glob("project=*/run=*"))
    return [(read_manifest(run).status, len(records(run, "steps"))) for run in runs]


@pytest.mark.parametrize(
    ("way", "words", "code", "status"),
    [
        ("record", ["my train.py", "--lr", "0.1", "-m", "exit", "--"], 7, Status.FAILED),
        ("record", ["-m", "package.train", "--every", "7", "fail"], 1, Status.FAILED),
        ("variable", ["./my train.py", "-x"], 0, Status.FINISHED),
    ],
)
def test_output_exit_code_and_traceback_are_those_of_python(
    way: str, words: list[str], code: int, status: Status, folder: Path
) -> None:
    alone = ended(started(folder, *words))
    assert alone[0] == code
    if way == "record":
        watched = started(folder, *RECORD, *words)
    else:
        watched = started(folder, *words, TELEMETRY_AUTO="1")
    assert ended(watched) == alone
    assert recorded(folder) == [(status, 5)]
    assert ("on purpose" in alone[2]) == (code == 1)


def test_a_launcher_that_was_asked_for_does_not_say_that_nothing_was_recorded(
    folder: Path,
) -> None:
    code, _, err = ended(started(folder, *RECORD, "launch.py", "my train.py", "exit"))
    assert (code, err) == (7, "")
    assert recorded(folder) == [(Status.FAILED, 5)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_script_as_it_would(number: signal.Signals, folder: Path) -> None:
    process = started(folder, *RECORD, "my train.py", "wait")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("typed")
    process.stdin.close()
    process.stdin = None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(number)
    code, _, err = ended(process)
    assert code == -number
    assert err.endswith("KeyboardInterrupt\n" if number is signal.SIGINT else "")
    ((status, n_steps),) = recorded(folder)
    if number is signal.SIGINT:
        assert (status, n_steps) == (Status.FAILED, 5)


NO_BACKWARD = """
import torch
weight = torch.zeros(1, requires_grad=True)
weight.grad = torch.ones(1)
torch.optim.SGD([weight]).step()
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print(1)", "nothing was recorded: the script never imported torch.\n"),
        (NO_BACKWARD, "no loss was recorded because the script never called backward(); "),
    ],
)
def test_what_is_not_recorded_is_told_in_one_line_at_the_end(
    source: str, reason: str, folder: Path
) -> None:
    (folder / "train.py").write_text(source, "utf-8")
    code, _, err = ended(started(folder, *RECORD, "train.py"))
    assert code == 0
    assert len(err.splitlines()) == 1
    assert err.startswith(f"telemetry: {reason}")
