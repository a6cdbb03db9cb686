"""What a recorded script is configured with and what it reports become config and metrics.

Each script runs alone and recorded; its output, which has the bits of its weights, is the same.
"""

from pathlib import Path

import pytest
from loops import records
from script_processes import RECORD, ended, started

from telemetry.format.manifest import read_manifest
from telemetry.requests.record import start_file_is_installed

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not start_file_is_installed(), reason="telemetry is not installed by pip"),
]

LOOP = """
import torch
from torch import nn

def fit(lr, report, n_steps=4):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for step in range(n_steps):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 3)).square().mean()
        loss.backward()
        optimizer.step()
        report(step, loss)
    print([value.hex() for value in model.weight.flatten().tolist()], torch.initial_seed())
"""
WITH_ARGPARSE = """
import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from loop import fit

@dataclass
class Model:
    width: int = 8

@dataclass
class Config:
    lr: float = 0.1
    momentum: float = 0.9
    out: Path = Path("results")
    model: Model = field(default_factory=Model)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("-s", "--seed", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument("--api-key", default="0123456789abcdef")
    parser.set_defaults(run=fit)
    args = parser.parse_args()
    config = Config(lr=args.lr)
    before = sys.getrefcount(config), sys.getrefcount(args)
    args.run(config.lr, lambda step, loss: None)
    print(before, sys.getrefcount(config), sys.getrefcount(args))

main()
"""
WITH_CLICK = """
import click
from loop import fit

def report(step, loss):
    print(f"step {step}:", end=" ")
    print(f"train_loss={loss.item():.4f}", flush=True)
    if step == 3:
        print("Val accuracy: 0.75")

@click.group()
@click.option("--seed", default=3)
def group(seed):
    pass

@group.command()
@click.option("--lr", default=0.25)
@click.option("--decay", type=float, default=0.01)
@click.argument("data")
def train(lr, decay, data):
    fit(lr, report)

group()
"""
# As the real ones are built: `wandb.log` is set by `init`; the writers are classes.
WANDB = {
    "wandb/__init__.py": """
def init(**_):
    global log
    from wandb.sdk.wandb_run import Run
    run = Run()
    log = run.log
    return run
""",
    "wandb/sdk/__init__.py": "",
    "wandb/sdk/wandb_run.py": """
class Run:
    def log(self, data, step=None, commit=None):
        if not isinstance(data, dict):
            raise ValueError(f"no dictionary: {data!r}")
        print("wandb", sorted(data), step)
""",
}
TENSORBOARD = {
    "tensorboardX/__init__.py": "from tensorboardX.writer import SummaryWriter",
    "tensorboardX/writer.py": """
class SummaryWriter:
    def add_scalar(self, tag, scalar_value, global_step=None):
        print("tensorboard", tag, float(f'{scalar_value:.6g}'), global_step)
        return tag
""",
}
WITH_TRACKERS = """
import wandb
from loop import fit
from tensorboardX import SummaryWriter

writer = SummaryWriter()
run = wandb.init()
writer.add_scalar("before/training", 1.0)

class Odd(dict):
    def items(self):
        raise RuntimeError("of the observer alone")

def report(step, loss):
    print(writer.add_scalar("loss/train", loss, global_step=step))
    wandb.log({"valid": {"loss": step / 2, "picture": object()}, "text": "x", "best": True})
    if step == 2:
        wandb.log(Odd())
    try:
        run.log([1])
    except ValueError as error:
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        print(error, frames)

fit(0.1, report)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {
        "loop.py": LOOP,
        "with_argparse.py": WITH_ARGPARSE,
        "with_click.py": WITH_CLICK,
        "with_trackers.py": WITH_TRACKERS,
        **WANDB,
        **TENSORBOARD,
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


def recorded(folder: Path, *words: str, options: tuple[str, ...] = ()) -> tuple[Path, str]:
    """The run, and what was said on stderr; the output is that of the script alone."""
    alone = started(folder, *words)
    watched = started(folder, *RECORD, *options, *words)
    code, out, said = ended(watched)
    assert (code, out) == ended(alone)[:2], said
    (run,) = (folder / "store").glob("project=*/run=*")
    return run, said


def metrics(run: Path) -> list[tuple[object, object, object]]:
    rows = records(run, "metrics")
    return sorted((row["name"], row["step"], row["value"]) for row in rows)  # type: ignore[type-var]


def test_defaults_of_argparse_and_a_dataclass_are_the_config_and_typed_values_win(
    folder: Path,
) -> None:
    run, said = recorded(folder, "with_argparse.py", "digits", "--lr", "0.25")
    assert said == ""
    assert read_manifest(run).config == {
        "data": "digits",
        "seed": 3,
        "lr": 0.25,
        "momentum": 0.9,  # of the dataclass, nearer to the training than the parser's default
        "api_key": "(hidden)",
        "run": "fit",
        "out": "results",
        "model.width": 8,
    }


def test_values_of_click_are_the_config_and_printed_numbers_are_metrics_on_request(
    folder: Path,
) -> None:
    words = ("with_click.py", "train", "digits", "--decay", "0.5")
    run, said = recorded(folder, *words, options=("--metrics-from-stdout",))
    assert said == ""
    expected = {"seed": 3, "lr": 0.25, "decay": 0.5, "data": "digits"}
    assert read_manifest(run).config == expected
    losses = [row["loss"] for row in records(run, "steps")]
    printed = metrics(run)
    assert printed[0] == ("Val_accuracy", 3, 0.75)
    for (name, step, value), loss in zip(printed[1:], losses, strict=True):
        assert name == "train_loss"
        assert value == pytest.approx(loss, abs=1e-4)
        assert loss == losses[step]  # type: ignore[call-overload]


def test_what_a_script_logs_elsewhere_are_metrics_and_an_error_of_ours_stays_with_us(
    folder: Path,
) -> None:
    run, said = recorded(folder, "with_trackers.py")
    assert said == (
        "telemetry: metrics logged to Weights & Biases are no longer recorded: RuntimeError: "
        "of the observer alone\n"
    )
    losses = [row["loss"] for row in records(run, "steps")]
    assert metrics(run) == [
        *(("loss/train", step, loss) for step, loss in enumerate(losses)),
        *(("valid.loss", step, step / 2) for step in range(3)),  # then it was switched off
    ]
