"""Files and names that somebody else wrote: refused in one line, nothing run, nothing written."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Done, Telemetry, Terminal

from telemetry.format.manifest import read_manifest, write_manifest
from telemetry.format.ownership import signed
from telemetry.processes import this_process

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "hostile", "in_process")]

PARTS = ("--model", "hostile:build", "--dataset", "hostile:Rows")
WRITTEN = ("attributions", "explain", "example_evals", "feature_visualizations")
HOSTILE = """
import torch
from torch import nn

def build(width=2):
    model = nn.Linear(4, width, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    return model

def build_five():
    return nn.Linear(4, 5)

class Many(nn.Module):
    def forward(self, x):
        return torch.zeros(len(x), 2, 2)

class Named(nn.Module):
    def forward(self, x):
        return {"logits": torch.zeros(len(x), 2)}

def broken():
    raise RuntimeError("no disk")

class Rows:
    classes = ("<script>alert(1)</script>\\x1b[2J", "high\\x07\\u202e")
    def __init__(self):
        self.inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(3))
    def __len__(self):
        return 12
    def __getitem__(self, index):
        row = self.inputs[index]
        label = int((row.sum() > 0) != (index < 2))
        return self.shown(row), label, {"key\\x1b[31m": "value\\x1b]0;title\\x07"}
    def shown(self, row):
        return row

class Bright(Rows):
    value_range = (0.0, 1.0)

class Holes(Rows):
    def shown(self, row):
        return row * float("nan")

class Endless(Rows):
    def shown(self, row):
        return row / 0

class Alone(Rows):
    def __getitem__(self, index):
        return self.inputs[index]

class Strange(Rows):
    def __getitem__(self, index):
        return self.inputs[index], 7

class Empty(Rows):
    def __len__(self):
        return 0

class Tokens(Rows):
    modality = "text"
    pad_id = 0
    def shown(self, row):
        return (row > 0).long() + 1

class OneHot(nn.Module):
    def forward(self, x):
        return nn.functional.one_hot(x, 3).float().sum(1)[:, 1:]
"""


class Danger:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("sprung"),)


@pytest.fixture
def hostile(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and data sets that are wrong, and files that nobody should load."""
    import torch

    (store.parent / "hostile.py").write_text(HOSTILE, "utf-8")
    monkeypatch.delitem(sys.modules, "hostile", raising=False)
    weights = {"weight": torch.ones(2, 4)}
    torch.save(weights, "good.pt")
    torch.save({"model": weights, "extra": Danger()}, "trap.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Danger()))
    Path("five.pt").write_bytes(b"hello")
    Path("torn.pt").write_bytes(Path("good.pt").read_bytes()[:-300])
    torch.save({"weight": torch.ones(3, 4)}, "wide.pt")
    torch.save(Danger(), "trap_input.pt")
    Path("nan.json").write_text("[1.0, NaN, 0.0, 0.0]", "utf-8")


def refused(done: Done, example: Path) -> str:
    """The one line that says why; nothing else happened."""
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert not [name for name in WRITTEN if list(example.glob(f"*/*/{name}"))]
    assert not Path("sprung").exists()
    return line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--checkpoint", "trap.pt"), "Save model.state_dict()"),
        (("--checkpoint", "raw.pt"), "Save model.state_dict()"),
        (("--checkpoint", "five.pt"), "Save model.state_dict()"),
        (("--checkpoint", "torn.pt"), "Save model.state_dict()"),
        (("--checkpoint", "wide.pt"), "3x4 in the file, 2x4 in the model"),
        (("--checkpoint", "none.pt"), "no file matches"),
        (("--checkpoint", ""), "no file matches"),
        (("--model", "hostile:nothing"), "hostile has no nothing"),
        (("--model", "nowhere:build"), "nowhere cannot be imported"),
        (("--model", "hostile:HOSTILE"), "hostile has no HOSTILE"),
        (("--model", "hostile:Rows"), "returned a Rows, expected an nn.Module"),
        (("--model", "hostile:broken"), "no disk"),
        (("--model", "hostile:Many"), "returns shape (1, 2, 2)"),
        (("--model", "hostile:Named"), "--output-key"),
        (("--model", "hostile:build_five"), "names 2 classes, but the model has 5"),
        (("--dataset", "hostile:Empty"), "is empty"),
        (("--dataset", "hostile:Alone"), "expected (input, label)"),
        (("--dataset", "hostile:Strange"), "has the label 7"),
        (("--dataset", "hostile:Holes"), "are not finite"),
        (("--dataset", "hostile:Endless"), "are not finite"),
        (("--dataset", "hostile:Bright"), "outside value_range 0 to 1"),
        (
            ("--dataset", "hostile:Tokens", "--model", "hostile:OneHot"),
            "or occlusion, or name the module that embeds",
        ),
        (("--target", "cat"), "no such class"),
        (("--target", "wrong"), "is answered correctly"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    plain = ("--example", 5, "--target", "pred", *PARTS)
    assert complaint in refused(telemetry("explain", "input", "base", *plain, *words), example)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("explain", "features", "base", "--layer", "con"), "has no layer 'con'"),
        (("explain", "weights", "base", "con"), "has no layer 'con'"),
        (("explain", "features", "base", "--layer", "output", "--units", 9), "no unit 9"),
        (("explain", "input", "base", "--input", "trap_input.pt"), "cannot be read as an input"),
        (("explain", "input", "base", "--input", "nan.json"), "not finite"),
        (("explain", "input", "nobody", "--example", 0), "no run matches 'nobody'"),
        (("explain", "perturb", "base", "--example", 5, "--axis", "glow"), "--axis glow"),
        (("evaluate", "base", "--checkpoint", "trap.pt"), "Save model.state_dict()"),
    ],
)
def test_other_questions_are_refused_as_clearly(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in refused(telemetry(*words, *PARTS), example)


@pytest.mark.parametrize("part", ["weights", "input"])
def test_a_run_of_somebody_else_cannot_name_the_code_that_runs(
    telemetry: Telemetry, example: Path, part: str
) -> None:
    """`shutil:rmtree` with chosen arguments is a valid entry point."""
    Path("precious").mkdir()
    Path("precious/thesis.txt").write_text("years", "utf-8")
    (folder,) = example.glob("project=*/run=*aaaaaa")
    stated = {"model": "shutil:rmtree", "model_args": {"path": "precious"}, "dataset": "os:environ"}
    manifest = replace(read_manifest(folder), owner=this_process())  # ours, it says
    other = {**signed(manifest.run, "other", stated), "explain": stated}
    write_manifest(folder, replace(manifest, extra=other))
    words = ("--example", 0) if part == "input" else ("--checkpoint", "good.pt")
    line = refused(telemetry("explain", part, "base", *words), example)
    assert "names the code shutil:rmtree" in line
    assert "its signature is not yours" in line
    assert "--trust-run" in line
    assert Path("precious/thesis.txt").exists()
    line = refused(telemetry("explain", part, "base", *words, "--trust-run"), example)
    assert "model shutil:rmtree is part of Python" in line
    assert Path("precious/thesis.txt").exists()


def test_control_characters_and_markup_of_a_data_set_stay_harmless(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    asked = ("explain", "input", "base", "--example", 0, *PARTS, "--no-checks")
    commands = [
        (*asked, "--html", "page.html"),
        (*asked, "--json"),
        ("evaluate", "base", *PARTS),
        ("slices", "base", "--min-size", 2),
        ("examples", "base"),
        ("explain", "list", "base"),
        ("explain", "perturb", "base", "--example", 5, "--axis", "feature:1", *PARTS),
        ("explain", "reduce", "base", "--wrong", 0, "--right", "nearest", *PARTS),
    ]
    for become in (lambda: None, lambda: terminal(80)):
        become()
        for words in commands:
            done = telemetry(*words, "--no-color")
            assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err), words
            assert done.code != 2, done.err
    page = Path("page.html").read_text("utf-8")
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert not {"\x1b", "\x07"} & set(page)
