from pathlib import Path

import numpy as np
import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry.evaluate.hypothesis_testing.file import load_hypotheses

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "in_process")]

VERB = ("explain", "reduce", "base")
PARTS = ("--model", "boards:Bar", "--dataset", "boards:valid")
ROWS = ("--model", "shop:build", "--dataset", "shop:valid")

SIGNS = """
import torch
from torch import nn

class Signs:
    classes = ("other", "sign")
    value_range = (0.0, 1.0)
    def __init__(self):
        generator = torch.Generator().manual_seed(4)
        self.images = 0.3 + 0.02 * torch.rand(2, 1, 12, 12, generator=generator)
        self.images[:, 0, 4:8, 6:10] = 0.9
        self.images[0, 0, 4:8, 6:10] = 0.1
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return self.images[index], 1
    def example_id(self, index):
        return ("covered", "it's plain")[index]

class Bar(nn.Module):
    def forward(self, x):
        score = 20 * (x[:, 0, 4:8, 6:10].flatten(1).mean(1) - 0.45)
        return torch.stack([-score, score], dim=1)

valid = Signs()
"""


SUMS = """
import torch
from torch import nn

class Sum(nn.Module):
    def forward(self, x):
        return x.sum(1)

def add():
    return Sum()

class Sums:
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return torch.tensor([[9.0, 1.0], [1.0, 1.0]])[index], 2.0

sums = Sums()
"""


@pytest.fixture(autouse=True)
def _boards(store: Path) -> None:
    (store.parent / "boards.py").write_text(SIGNS, "utf-8")


def test_a_covered_sign_is_reduced_and_kept(telemetry: Telemetry, example: Path) -> None:
    done = telemetry(*VERB, "--wrong", 0, "--right", 1, *PARTS)
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert first.startswith('example covered is called "other", not "sign"; taking 2 of 36 cells')
    assert "the cause is in rows 4-7, columns 6-9 (11.1 % of the pixels)." in first
    sql = "SELECT mode, right_id, region_share, mask_path, image_path FROM input_reductions"
    rows = [line.split("\t") for line in telemetry("query", sql).out.splitlines()[1:]]
    assert sorted(row[:2] for row in rows) == [["break", "it's plain"], ["repair", "it's plain"]]
    (run,) = {path.parent.parent.parent for path in example.glob("*/*/input_reductions/*")}
    (mask,) = run.rglob("explain/arrays/*.npy") if run.exists() else ()
    values = np.load(mask, allow_pickle=False)
    assert values.shape == (12, 12)
    assert (values > 0).sum() == 16
    assert (values == 2).sum() == 8
    assert list(example.rglob("explain/images/*.png"))


def test_the_json_document_has_its_published_shape(telemetry: Telemetry, example: Path) -> None:
    words = (*VERB, "--wrong", "covered", "--right", 1, *PARTS, "--json", "--no-store")
    (found,) = validated("explain", telemetry(*words).out)["reductions"]
    assert found["cell"] == 2
    assert sorted(found["region"]) == [[4, 6, 6, 8], [4, 8, 6, 10], [6, 6, 8, 8], [6, 8, 8, 10]]
    assert len(found["repair"]["parts"]) == 2
    assert found["image"] is None
    assert not list(example.rglob("explain"))


def test_the_right_twin_may_lie_in_a_file(telemetry: Telemetry, store: Path) -> None:
    clean = np.full((1, 12, 12), 0.3, dtype=np.float32)
    clean[0, 4:8, 6:10] = 0.9
    np.save(store.parent / "clean.npy", clean)
    done = telemetry(*VERB, "--wrong", 0, "--right", "clean.npy", *PARTS, "--no-store")
    assert done.code == 0
    assert "from clean.npy makes the answer right" in done.out.splitlines()[0]
    absent = telemetry(*VERB, "--wrong", 0, "--right", "absent.npy", *PARTS)
    assert absent.code == 2
    assert "has no example 'absent.npy'" in absent.err


@pytest.mark.usefixtures("shop")
def test_columns_are_named(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--wrong", 0, *ROWS, "--mode", "repair")
    assert done.code == 0
    assert "the nearest of that class, makes the answer right." in done.out.splitlines()[0]
    assert "repair\t" in done.out
    words = (*VERB, "--wrong", 0, *ROWS, "--json")
    (found,) = validated("explain", telemetry(*words).out)["reductions"]
    assert found["repair"]["edits"][0]["name"] in {"0", "1", "2", "3"}
    assert found["cell"] is None


def test_the_example_becomes_a_hypothesis(telemetry: Telemetry, store: Path) -> None:
    keep = ("--save-hypothesis", "covered-sign")
    assert telemetry(*VERB, "--wrong", 0, "--right", 1, *PARTS, *keep).code == 0
    (found,) = load_hypotheses(store.parent / "hypotheses.toml")
    assert found.where == "example_id = 'covered'"
    assert str(found.expect) == "accuracy >= 1"


def test_an_example_of_a_regression_becomes_one_too(telemetry: Telemetry, store: Path) -> None:
    (store.parent / "totals.py").write_text(SUMS, "utf-8")
    parts = ("--model", "totals:add", "--dataset", "totals:sums", "--tolerance", 0.5)
    keep = ("--wrong", 0, "--right", 1, "--save-hypothesis", "sum")
    assert telemetry(*VERB, *keep, *parts).code == 0
    (found,) = load_hypotheses(store.parent / "hypotheses.toml")
    assert str(found.expect) == "mae <= 0.5"
    assert found.statement.endswith(", within 0.5")


def test_a_file_is_reduced_and_called_by_its_name(telemetry: Telemetry, store: Path) -> None:
    grey = np.full((1, 12, 12), 0.3, dtype=np.float32)
    np.save(store.parent / "photo.npy", grey)
    words = (*VERB, "--wrong", "photo.npy", "--right", 1, *PARTS)
    done = telemetry(*words, "--label", "sign", "--json")
    (found,) = validated("explain", done.out)["reductions"]
    assert found["file"] == "photo.npy"
    assert found["answer"].startswith('photo.npy is called "other", not "sign"; taking')
    refused = telemetry(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "set the true class with --label CLASS" in refused.err
    kept = telemetry(*words, "--label", "sign", "--save-hypothesis", "photo")
    assert kept.code == 2
    assert "is not in a data set" in kept.err


def test_what_is_not_local_ends_with_3(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--wrong", 1, "--right", 0, *PARTS)
    assert (done.code, done.out) == (3, "")
    assert "is answered correctly" in done.err
    same = telemetry(*VERB, "--wrong", 0, *PARTS)
    assert same.code == 3
    assert "no set of cells corrects the answer" in same.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--right", 1), "--wrong"),
        (("--wrong", 0, "--right", 9), "has no example '9'"),
        (("--wrong", 0, "--right", 1, "--cell", 99), "--cell 99"),
        (("--wrong", 0, "--right", 1, "--mode", "mend"), "--mode"),
        (("--wrong", 0, "--save-hypothesis", "No Name"), "expected lower-case letters"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words, *PARTS)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/input_reductions"))


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("words", [(*PARTS, "--right", "1"), ROWS])
def test_a_terminal_of_80_columns_holds_it(
    telemetry: Telemetry, terminal: Terminal, words: tuple[str, ...]
) -> None:
    terminal(80)
    done = telemetry(*VERB, "--wrong", 0, *words, "--no-color", "--no-store")
    assert widest(done.out) <= 80
