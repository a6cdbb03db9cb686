from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest

from telemetry.evaluate.hypothesis_testing.file import load_hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import Kind

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

PARTS = ("--model", "shop:build", "--dataset", "shop:valid")
VERB = ("explain", "perturb", "base")
COLUMN = ("--axis", "feature:0")

SUMS = """
class Sum(nn.Module):
    def forward(self, x):
        return x.sum(1)

def add():
    return Sum()

class Sums(Rows):
    classes = ()
    def __getitem__(self, index):
        return self.inputs[index], float(self.inputs[index].sum())

sums = Sums()
"""


def test_a_threshold_is_found_and_kept(telemetry: Telemetry) -> None:
    done = telemetry(*VERB, "--example", 5, *COLUMN, *PARTS)
    assert done.code == 0
    assert "is answered wrongly from feature:0" in done.out.splitlines()[0]
    assert "right\t" in done.out
    assert "wrong\t" in done.out
    sql = "SELECT axis, COUNT(*) AS n, MIN(threshold) AS t FROM input_perturbations GROUP BY axis"
    axis, n_rows, threshold = telemetry("query", sql).out.splitlines()[1].split("\t")
    assert (axis, int(n_rows)) == ("feature:0", 25)
    assert float(threshold) < 0
    telemetry(*VERB, "--example", 5, *COLUMN, *PARTS)
    assert telemetry("query", sql).out.splitlines()[1].split("\t")[1] == n_rows


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    words = (*VERB, "--all", "--axis", "feature:0,feature:1", *PARTS, "--json", "--no-store")
    document = validated("explain", telemetry(*words).out)
    assert document["stored"] is False
    first, second = document["perturbations"]
    assert (first["axis"], second["axis"]) == ("feature:0", "feature:1")
    assert first["example_id"] is None
    assert first["n"] == 12
    assert first["baseline"] == pytest.approx(10 / 12)


def test_a_group_is_measured_by_a_condition(telemetry: Telemetry) -> None:
    words = (*VERB, *COLUMN, *PARTS, "--json")
    done = telemetry(*words, "--where", "correct AND label = 'high'")
    assert done.code == 0, done.err
    (found,) = validated("explain", done.out)["perturbations"]
    (whole,) = validated("explain", telemetry(*words, "--all").out)["perturbations"]
    assert 0 < found["n"] < whole["n"]
    assert (found["baseline"], found["where"]) == (1.0, "correct AND label = 'high'")
    assert "where correct AND label = 'high'" in found["answer"]
    assert whole["where"] is None
    kept = telemetry("query", "SELECT DISTINCT condition FROM input_perturbations").out
    assert "correct AND" in kept
    for where, said in (("confidence > 2", "none of"), ("m_light = 'night'", "no column m_light")):
        refused = telemetry(*words, "--where", where)
        assert refused.code == 2
        assert said in refused.err


def test_a_threshold_becomes_a_hypothesis(telemetry: Telemetry, store: Path) -> None:
    keep = ("--save-hypothesis", "first-column")
    assert telemetry(*VERB, "--example", 5, *COLUMN, *PARTS, *keep).code == 0
    (found,) = load_hypotheses(store.parent / "hypotheses.toml")
    assert (found.kind, found.base) == (Kind.INVARIANCE, "shop:valid")
    assert found.transform is not None
    assert found.transform.startswith("feature:0:-")
    again = telemetry(*VERB, "--example", 5, *COLUMN, *PARTS, *keep)
    assert (again.code, again.out) == (2, "")
    assert "has a hypothesis first-column" in again.err


def test_a_regression_needs_a_tolerance(telemetry: Telemetry, store: Path) -> None:
    shop = (store.parent / "shop.py").read_text("utf-8")
    (store.parent / "shop.py").write_text(shop + SUMS, "utf-8")
    parts = ("--model", "shop:add", "--dataset", "shop:sums", "--example", 5, *COLUMN)
    refused = telemetry(*VERB, *parts)
    assert refused.code == 2
    assert "set the largest error of a correct answer with --tolerance" in refused.err
    done = telemetry(*VERB, *parts, "--tolerance", 0.5, "--json")
    (found,) = validated("explain", done.out)["perturbations"]
    assert found["tolerance"] == 0.5
    assert found["rows"][0]["p_label"] is None
    shown = telemetry(*VERB, *parts, "--tolerance", 0.5)
    assert shown.code == 0
    stretches = [line for line in shown.out.splitlines() if line.split("\t")[3:4] == ["wrong"]]
    assert len(stretches) <= 2  # of all values that are wrong, not a line each
    assert " .. " in stretches[0]


def test_a_threshold_of_a_regression_is_run_as_a_test(telemetry: Telemetry, store: Path) -> None:
    shop = (store.parent / "shop.py").read_text("utf-8")
    (store.parent / "shop.py").write_text(shop + SUMS, "utf-8")
    parts = ("--model", "shop:add", "--dataset", "shop:sums")
    near = ("--tolerance", 0.5, "--save-hypothesis", "near")
    refused = telemetry(*VERB, *parts, "--all", *COLUMN, *near)
    assert refused.code == 2
    assert "feature:0 has no value up to which all answers are correct" in refused.err
    keep = ("--tolerance", 2, "--save-hypothesis", "near")
    assert telemetry(*VERB, *parts, "--all", *COLUMN, *keep).code == 0
    (kept,) = load_hypotheses(store.parent / "hypotheses.toml")
    assert kept.tolerance == 2
    assert "stay within 2 under feature:0" in kept.statement
    done = telemetry("hypotheses", "run", "base", "--file", "hypotheses.toml", *parts, "--json")
    (found,) = validated("hypotheses", done.out)["hypotheses"]
    assert found["holds"] is False


def test_a_kept_threshold_is_run_as_a_test(telemetry: Telemetry) -> None:
    assert telemetry(*VERB, "--all", *COLUMN, *PARTS, "--save-hypothesis", "column").code == 0
    done = telemetry("hypotheses", "run", "base", "--file", "hypotheses.toml", *PARTS, "--json")
    (found,) = validated("hypotheses", done.out)["hypotheses"]
    assert found["name"] == "column"
    assert found["holds"] is False  # it is the value at which the accuracy has dropped
    assert done.code == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (COLUMN, "use one of --example"),
        ((*COLUMN, "--example", 0, "--all"), "use one of --example"),
        ((*COLUMN, "--example", 99), "has no example '99'"),
        (("--axis", "brightness", "--all"), "are not images; for rows, use feature:COLUMN"),
        (("--axis", "feature:9", "--all"), "no such column; there are 0, 1, 2, 3"),
        ((*COLUMN, "--all", "--range", "3"), "write LOW:HIGH"),
        ((*COLUMN, "--all", "--range", "3:1"), "--range 3:1 is empty"),
        (("--axis", "feature:0,feature:1", "--all", "--save-hypothesis", "x"), "use one axis"),
        ((*COLUMN, "--all", "--save-hypothesis", "No Name"), "expected lower-case letters"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry(*VERB, *words, *PARTS)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/input_perturbations"))


@pytest.mark.parametrize("whom", [("--example", "5"), ("--all",)])
def test_a_terminal_of_80_columns_holds_it(
    telemetry: Telemetry, terminal: Terminal, whom: tuple[str, ...]
) -> None:
    terminal(80)
    done = telemetry(*VERB, *whom, *COLUMN, *PARTS, "--no-color")
    assert widest(done.out) <= 80
