from pathlib import Path

import pytest
import torch
from command_line import Telemetry, validated

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

FILE = """
[[hypothesis]]
name = "good-enough"
statement = "Nine of ten are right"
kind = "min"
dataset = "shop:valid"
expect = {{ metric = "accuracy", op = ">=", value = {limit} }}

[[hypothesis]]
name = "second-half"
statement = "The second half is all right"
kind = "subset"
base = "shop:valid"
where = "m_half = 1"
expect = {{ metric = "error", op = "<=", value = 0.0 }}

[[hypothesis]]
name = "first-column"
statement = "The first column does not decide"
kind = "invariance"
base = "shop:valid"
transform = "feature:0:0.0"
expect = {{ metric = "accuracy", op = ">=", value = 0.1 }}
"""


def write(limit: float) -> None:
    Path("hypotheses.toml").write_text(FILE.format(limit=limit), "utf-8")


def test_what_holds_and_what_is_refuted_is_told(telemetry: Telemetry) -> None:
    write(0.9)
    done = telemetry("hypotheses", "run", "base", "--model", "shop:build")
    assert done.code == 1
    assert done.out.startswith("1 of 3 hypotheses refuted: good-enough.")
    assert "fewer than 200 examples" in done.err
    write(0.8)
    again = telemetry("hypotheses", "run", "base", "--model", "shop:build")
    assert again.code == 0
    assert again.out.startswith("none of 3 hypotheses is refuted.")
    sql = "SELECT COUNT(DISTINCT name) AS n FROM hypotheses"
    assert telemetry("query", sql).out.splitlines()[1] == "3"


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    write(0.8)
    words = ("hypotheses", "run", "base", "--model", "shop:build", "--json")
    document = validated("hypotheses", telemetry(*words).out)
    holds = {entry["name"]: entry["holds"] for entry in document["hypotheses"]}
    assert holds == {"good-enough": True, "second-half": True, "first-column": True}
    assert {entry["name"]: entry["n"] for entry in document["hypotheses"]}["second-half"] == 6


def test_bad_input_is_one_line_and_nothing_is_written(telemetry: Telemetry, example: Path) -> None:
    missing = telemetry("hypotheses", "run", "base", "--model", "shop:build")
    write(0.8)
    Path("hypotheses.toml").write_text(FILE.format(limit=0.8).replace("feature:0", "colour"))
    wrong = telemetry("hypotheses", "run", "base", "--model", "shop:build")
    for done, complaint in ((missing, "hypotheses cannot be read"), (wrong, "--axis colour")):
        assert (done.code, done.out) == (2, "")
        assert complaint in done.err
    assert not list(example.glob("*/*/example_evals"))
    assert not list(example.glob("*/*/hypotheses"))


def test_several_checkpoints_are_tested_in_one_call(telemetry: Telemetry) -> None:
    for name, factor in (("old.pt", 1.0), ("new.pt", -1.0)):
        torch.save({"weight": torch.tensor([[0.0] * 4, [1.0] * 4]) * factor}, name)
    write(0.8)
    words = ("hypotheses", "run", "old.pt", "new.pt", "--model", "shop:build")
    done = telemetry(*words)
    assert done.code == 1
    assert done.out.startswith(
        "2 of 3 hypotheses, each under 2 models, refuted: good-enough (new.pt), second-half "
        "(new.pt)."
    )
    assert "first-column\told.pt\t" in done.out
    document = validated("hypotheses", telemetry(*words, "--json").out)
    holds = [(e["name"], e["holds"]) for e in document["hypotheses"]]
    assert holds.count(("good-enough", True)) == holds.count(("good-enough", False)) == 1
    compared = telemetry("hypotheses", "compare", "old.pt", "new.pt", "--no-seed-baseline")
    assert "second-half\t6\t100.0 %\t0.0 %" in compared.out
