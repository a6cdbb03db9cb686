"""Runs command lines in this process: to a pipe, or to a terminal of a given width."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

import pytest
from command_line import Done, Telemetry
from example_store import build_store
from synthetic import START

from telemetry import json_values
from telemetry.cli import main
from telemetry.cli.models import child as model_child
from telemetry.cli.output import render
from telemetry.cli.screens import run_list


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELEMETRY_STORE", "NO_COLOR", "LC_ALL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative store, so that screens do not depend on where the test ran."""
    monkeypatch.chdir(tmp_path)
    return Path("telemetry-runs")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example store, built once; tests get copies, for commands keep findings in it."""
    return build_store(tmp_path_factory.mktemp("example") / "telemetry-runs")


@pytest.fixture
def example(store: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example store at the default place, a day after its first run."""
    shutil.copytree(template, store)
    monkeypatch.setattr(run_list, "now", lambda: START + timedelta(days=1))
    return store


@pytest.fixture
def telemetry(capsys: pytest.CaptureFixture[str]) -> Telemetry:
    """`telemetry("runs", "--all")`: the exit code and what was written."""

    def call(*arguments: object) -> Done:
        code = main.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`terminal(80)`: from now on stdout is a terminal of that width."""

    def become(width: int) -> None:
        monkeypatch.setattr(render, "is_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))

    return become


SHOP = """
import os
import torch
from torch import nn

def build(width=2):
    model = nn.Linear(4, width, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    print("built")
    os.write(1, b"as a library in C would\\n")
    return model

def first(output):
    return output

def build_blind():
    return nn.Sequential(Rounded(), build())

class Rounded(nn.Module):
    def forward(self, x):
        return torch.round(x)

class Rows:
    classes = ("low", "high")
    def __init__(self):
        self.inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(3))
    def __len__(self):
        return 12
    def __getitem__(self, index):
        row = self.inputs[index]
        return row, int((row.sum() > 0) != (index < 2)), {"half": index // 6}

def broken():
    raise RuntimeError("no such disk")

valid = Rows()
"""


@pytest.fixture
def shop(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and its data in the working folder, as a user would write them."""
    (store.parent / "shop.py").write_text(SHOP, "utf-8")
    monkeypatch.delitem(sys.modules, "shop", raising=False)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child would do, here: starting a Python with torch takes seconds."""

    def run(question: IO[str], answer: IO[str], *how: object) -> None:
        from telemetry.explain.__main__ import answer_to
        from telemetry.explain.progress import Listener, heard

        said: list[Mapping[str, json_values.Json]] = []
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), heard(said.append):
            answer.write(json_values.dumps(answer_to(json.load(question))))
        if how[-1] is not None:
            for message in said:
                cast("Listener", how[-1])(message)

    monkeypatch.setattr(model_child, "_run", run)
