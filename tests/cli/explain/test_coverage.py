from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry.evaluate.hypothesis_testing.file import load_hypotheses
from telemetry.format.manifest import read_manifest, write_manifest
from telemetry.format.ownership import signed
from telemetry.store.user_sql.expressions import matching

if TYPE_CHECKING:
    from telemetry.json_values import Json

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "in_process")]

VERB = ("explain", "coverage", "base", "--model", "nights:build", "--train", "nights:train")

NIGHTS = """
import torch
from torch import nn

def build():
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    return model

class Bare(nn.Module):
    def forward(self, x):
        return torch.stack([x[:, 0] * 0, x[:, 0]], 1)

class Rows:
    modality = "tabular"
    feature_names = ("size", "light")
    classes = ("small", "large")
    def __init__(self, seed, light, n):
        generator = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(n, 2, generator=generator)
        self.rows[:, 1] = self.rows[:, 1].abs() + light
        self.light = light
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, index):
        row = self.rows[index]
        label = int(row[0] > 0)
        if row[1] < -3 and index % 3 == 0:
            label = 1 - label
        return row, label, {"time": "day" if row[1] > -3 else "it's night", "lux": float(row[1])}

train = Rows(1, 0.0, 200)
valid = Rows(2, 0.0, 150)
both = Rows(3, 0.0, 150)
both.rows[100:, 1] -= 9
"""


@pytest.fixture(autouse=True)
def _nights(store: Path) -> None:
    (store.parent / "nights.py").write_text(NIGHTS, "utf-8")


def test_what_training_lacks_is_said_kept_and_ends_with_1(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--test", "nights:both")
    assert done.code == 1
    first = done.out.splitlines()[0]
    assert "training examples have" in first
    assert "of those outside are answered wrongly" in first
    sql = "SELECT kind, attribute, outside_n FROM coverage WHERE finding ORDER BY ALL"
    rows = [line.split("\t") for line in telemetry("query", sql).out.splitlines()[1:]]
    assert ["cell", "m_time = it's night", "50"] in rows
    sql = "SELECT histogram FROM coverage WHERE attribute = 'light'"
    assert '"train":[0' in telemetry("query", sql).out.replace(" ", "")
    assert {row[1] for row in rows} == {"light", "m_lux", "m_time = it's night", "knn"}


def test_a_covered_set_ends_with_0(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--dataset", "nights:valid", "--no-store")
    assert done.code == 0
    assert done.out.replace("\n", " ").startswith(
        "nothing found in 14 comparisons (3 attributes, 4 columns, 6 pairs, the distance to "
        "neighbours); groups of three were not examined"
    )


def test_neighbours_that_were_not_compared_are_not_said_to_be(telemetry: Telemetry) -> None:
    """A model without a linear layer has no representation to compare."""
    words = (*VERB[:4], "nights:Bare", *VERB[5:], "--dataset", "nights:valid", "--no-store")
    done = telemetry(*words)
    assert done.out.replace("\n", " ").startswith(
        "nothing found in 13 comparisons (3 attributes, 4 columns, 6 pairs); neighbours and "
        "groups of three were not examined"
    )


def test_the_json_document_has_its_published_shape(telemetry: Telemetry, example: Path) -> None:
    done = telemetry(*VERB, "--test", "nights:both", "--json", "--no-store")
    (found,) = validated("explain", done.out)["coverages"]
    assert found["finding"] is True
    assert (found["train_n"], found["test_n"]) == (200, 150)
    light = next(gap for gap in found["attributes"] if gap["attribute"] == "light")["histogram"]
    assert (sum(light["train"]), sum(light["test"])) == (200, 150)
    assert light["low"] < -8
    where = {gap["attribute"]: gap["where"] for gap in found["attributes"] if gap["reported"]}
    assert where["m_time = it's night"] == "m_time = 'it''s night'"
    rows = pa.table(
        {"m_lux": [0.5, -8.0], "example_id": ["a", "b"], "m_time": ["day", "it's night"]}
    )
    assert matching(rows, where["m_lux"]).tolist() == [False, True]
    assert matching(rows, where["m_time = it's night"]).tolist() == [False, True]
    assert np.count_nonzero(matching(rows, where["light"])) == 0
    assert not list(example.glob("*/*/coverage"))


def test_a_gap_becomes_a_hypothesis(telemetry: Telemetry, store: Path) -> None:
    words = ("--test", "nights:both", "--save-hypothesis", "nights")
    assert telemetry(*VERB, *words).code == 1
    (found,) = load_hypotheses(store.parent / "hypotheses.toml")
    assert found.base == "nights:both"
    assert str(found.expect) == "error <= 0"
    nothing = telemetry(*VERB, "--test", "nights:valid", "--save-hypothesis", "days")
    assert nothing.code == 2
    assert "the hypothesis days is not saved" in nothing.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "no test examples were given"),
        (("--test", "nights:nothing"), "nights:nothing"),
        (("--test", "nights:both", "--layer", "tail"), "no layer 'tail'"),
        (("--test", "nights:both", "--k", "900"), "--k 900"),
        (("--test", "nights:both", "--save-hypothesis", "No Name"), "expected lower-case letters"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/coverage"))


def test_a_terminal_of_80_columns_holds_it(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry(*VERB, "--test", "nights:both", "--no-color", "--no-store")
    assert widest(done.out) <= 80
    spread = done.out.split("SPREAD OF")[1].splitlines()
    light = next(place for place, line in enumerate(spread) if line.split()[:1] == ["light"])
    training, test = (spread[place].split() for place in (light, light + 1))
    assert (training[3][0], test[1][0]) == ("▁", "▅")  # a third of the test set lies far below


def test_training_examples_that_a_run_names_need_no_option(
    telemetry: Telemetry, example: Path
) -> None:
    folder = next(example.glob("project=*/run=20260102-030405-aaaaaa"))
    manifest = read_manifest(folder)
    words = ("explain", "coverage", "base", "--no-store")
    spec: dict[str, Json] = {"model": "nights:build", "dataset": "nights:both"}
    own = signed(manifest.run, manifest.project, spec)
    write_manifest(folder, replace(manifest, extra=own))
    refused = telemetry(*words)
    assert refused.code == 2
    assert "no training examples are known" in refused.err
    own = signed(manifest.run, manifest.project, {**spec, "train": "nights:train"})
    write_manifest(folder, replace(manifest, extra=own))
    done = telemetry(*words)
    assert done.code == 1, done.err
    assert "training examples have" in done.out
