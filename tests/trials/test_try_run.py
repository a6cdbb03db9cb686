"""A whole experiment: a script is recorded, replayed with and without a remedy, and judged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.errors import UsageError
from telemetry.format.replay import REPLAY_KEY
from telemetry.requests.record import AUTO_VARIABLE
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.trials.plan import plan_tries
from telemetry.trials.result import Outcome
from telemetry.trials.stored import stored_tries
from telemetry.trials.try_run import NotReplayed, try_remedies

pytestmark = [pytest.mark.slow, pytest.mark.torch]

SCRIPT = """
import sys
import torch
from torch import nn
{seed}
inputs = torch.randn(256, 8)
labels = inputs[:, :3].argmax(1)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
for step in range(60):
    chosen = torch.randint(0, 256, (32,))
    loss = nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
open("done.txt", "w").write("x")
"""


def _recorded(folder: Path, *, seed: str, rate: str) -> tuple[Store, Run]:
    code = folder / "code"
    code.mkdir(exist_ok=True)
    (code / "train.py").write_text(SCRIPT.format(seed=seed), "utf-8")
    environment = {**os.environ, AUTO_VARIABLE: "1", "TELEMETRY_STORE": str(folder / "store")}
    subprocess.run([sys.executable, "train.py", rate], cwd=code, env=environment, check=True)
    (code / "done.txt").unlink()
    store = Store.open(folder / "store")
    return store, store.select("latest")


def test_a_rate_that_is_too_low_is_told_by_a_higher_one(tmp_path: Path) -> None:
    store, run = _recorded(tmp_path, seed="torch.manual_seed(0)", rate="0.001")
    assert run.manifest is not None
    assert REPLAY_KEY in run.manifest.extra
    tries = try_remedies(store, run, remedies=["lr*64", "minimize"], seeds=1, steps=50, jobs=2)
    assert tries.is_replayed
    best, other = tries.tried
    assert (best.dose, best.outcome, best.equal_steps) == ("lr*64", Outcome.CONFIRMED, 1)
    assert (other.dose, other.outcome) == ("minimize", Outcome.NOT_APPLICABLE)
    assert best.step == 49
    assert best.treated < best.control
    kept = {one.dose: one for one in stored_tries(store, run)}
    assert kept["lr*64"].is_confirmed
    assert not kept["minimize"].is_confirmed
    assert not (tmp_path / "code" / "done.txt").exists()
    assert [one.run for one in store.runs()] == [run.run]


def test_a_script_whose_data_are_gone_is_not_replayed(tmp_path: Path) -> None:
    removes = "import os\nopen('data.txt').close()\nos.remove('data.txt')"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "data.txt").touch()
    store, run = _recorded(tmp_path, seed=removes, rate="0.1")
    with pytest.raises(NotReplayed, match=r"No such file.*files as they are now") as caught:
        try_remedies(store, run, remedies=["lr/8"], seeds=1, steps=10)
    assert caught.value.exit_code == 1


def test_a_script_that_sets_no_seed_is_not_replayed(tmp_path: Path) -> None:
    store, run = _recorded(tmp_path, seed="", rate="0.1")
    tries = try_remedies(store, run, remedies=["lr/8"], seeds=1, steps=10)
    assert tries.first_difference == 0
    assert tries.apart is not None
    assert tries.apart > 0
    assert tries.tried == ()
    with pytest.raises(UsageError, match="there is no remedy 'prayer'"):
        plan_tries(store, run, remedies=["prayer"])
