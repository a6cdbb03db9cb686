import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Telemetry, Terminal, validated, widest

from telemetry.explain.attribution.methods import RULES
from telemetry.requests.explain.input import COMPARED, METHODS

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("example", "shop", "in_process")]

PARTS = ("--model", "shop:build", "--dataset", "shop:valid", "--baseline", "zero")


def test_a_wrong_answer_is_explained_and_kept(telemetry: Telemetry) -> None:
    done = telemetry("explain", "input", "base", "--example", 0, *PARTS, "--no-checks")
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert "is called" in first
    assert "of the evidence for" in first
    assert "completeness\t" in done.out
    sql = "SELECT method, target, other, ok FROM attributions"
    found = telemetry("query", sql).out.splitlines()[1].split("\t")
    assert found[0] == "ig"
    assert {found[1], found[2]} == {"low", "high"}


def test_what_computed_an_answer_and_with_what_settings_is_kept(telemetry: Telemetry) -> None:
    words = ("--example", 0, "--method", "lime", "--samples", 40, "--no-checks", "--seed", 3)
    telemetry("explain", "input", "base", *words, *PARTS)
    sql = "SELECT attribution_id, library, params FROM attributions"
    identity, library, params = telemetry("query", sql).out.splitlines()[1].split("\t")
    assert library.startswith("captum ")
    assert ", scikit-learn " in library
    found = json.loads(params)
    assert (found["samples"], found["baselines"], found["seed"]) == (40, {"zero": 1}, 3)
    shown = telemetry("explain", "show", identity).out
    assert f"library\t{library}" in shown
    assert "settings\tsamples 40" in shown


def test_the_contribution_of_each_element_is_an_array(telemetry: Telemetry, example: Path) -> None:
    telemetry("explain", "input", "base", "--example", 0, *PARTS, "--no-checks")
    sql = "SELECT array_path, segment_values FROM attributions"
    path, values = telemetry("query", sql).out.splitlines()[1].split("\t")
    (file,) = example.glob(f"*/*/{path}")
    assert np.load(file).tolist() == pytest.approx(json.loads(values))
    whole = (*PARTS, "--no-checks", "--method", "occlusion", "--json")
    document = json.loads(telemetry("explain", "input", "base", "--example", 0, *whole).out)
    assert document["attributions"][0]["array"] is None


def test_occlusion_tells_values_of_each_reference_and_other_answers(telemetry: Telemetry) -> None:
    parts = ("--model", "shop:build", "--dataset", "shop:valid", "--no-checks")
    words = ("--example", 0, "--method", "occlusion", "--baseline", "train-sample:8")
    done = telemetry("explain", "input", "base", *words, *parts)
    assert "PART\tIS\tREFERENCE\tVALUE\tSD\tSHARE" in done.out
    (attribution,) = json.loads(
        telemetry("explain", "input", "base", *words, *parts, "--json").out
    )["attributions"]
    for change in attribution["changed"]:
        assert f'without {change["segment"]} "{change["prediction"]}"' in done.out
    sql = "SELECT baseline_values FROM attributions"
    assert "train-sample:8" in telemetry("query", sql).out


def test_the_command_offers_every_method() -> None:
    assert tuple(one for one in METHODS if one not in RULES) == COMPARED


def test_another_method_can_be_compared(telemetry: Telemetry) -> None:
    words = ("--example", 0, *PARTS, "--compare", "kernelshap", "--json", "--no-store")
    document = validated("explain", telemetry("explain", "input", "base", *words).out)
    compared = document["attributions"][0]["compared"]
    assert compared["method"] == "kernelshap"
    assert compared["agrees"] is True


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    words = ("--worst", 2, *PARTS, "--json", "--method", "occlusion", "--no-store")
    document = validated("explain", telemetry("explain", "input", "base", *words).out)
    assert document["stored"] is False
    assert len(document["attributions"]) == 2
    assert document["attributions"][0]["image"] is None


def test_the_worst_are_the_wrong_ones_of_the_first_examples(telemetry: Telemetry) -> None:
    """Two answers are wrong, the first ones."""
    words = (*PARTS, "--method", "occlusion", "--no-store", "--no-checks", "--json")

    def found(*more: object) -> int:
        done = telemetry("explain", "input", "base", *words, *more)
        return len(validated("explain", done.out)["attributions"])

    assert found("--worst", 12) == 2
    assert found("--worst", 12, "--limit", 1) == 1
    assert found("--worst", 11, "--target", "pred") == 11
    Path("right.py").write_text(
        "import shop\n"
        "class Right(shop.Rows):\n"
        "    def __getitem__(self, index):\n"
        "        return super().__getitem__(index + 2)\n"
        "    def __len__(self):\n"
        "        return 10\n",
        "utf-8",
    )
    done = telemetry("explain", "input", "base", *words, "--worst", 1, "--dataset", "right:Right")
    assert done.code == 2
    assert "all 10 examples of right:Right are answered correctly" in done.err


def test_a_failed_check_is_said_and_ends_with_3(telemetry: Telemetry, example: Path) -> None:
    """Nothing passes a gradient through a model that rounds its inputs."""
    parts = ("--model", "shop:build_blind", "--dataset", "shop:valid", "--baseline", "zero")
    done = telemetry("explain", "input", "base", "--example", 0, *parts, "--no-checks")
    assert done.code == 3
    assert "But this score does not depend on this input" in done.out.splitlines()[0]
    assert "FAILED\tnot_empty" in done.out
    assert list(example.glob("*/*/attributions/*/*.parquet"))


def test_an_input_in_a_file_is_asked_about_its_answer(telemetry: Telemetry) -> None:
    """No truth is known of it: the answer is explained, against 16 rows of the data set."""
    Path("deep").mkdir()
    Path("deep/new.json").write_text("[0.1, 0.2, 3.0, -0.1]", "utf-8")
    words = ("--input", Path("deep/new.json").resolve(), *PARTS, "--no-checks")
    done = telemetry("explain", "input", "base", *words, "--json")
    assert done.code == 0
    (found,) = validated("explain", done.out)["attributions"]
    assert (found["file"], found["label"], found["prediction"]) == ("new.json", None, "high")
    assert found["answer"].startswith('new.json is called "high"; column 2 = 3 (reference 0')
    assert found["score"]["target"] == "high"
    sql = "SELECT dataset, example_id, label FROM attributions"
    row = telemetry("query", sql).out.splitlines()[1].split("\t")
    assert row == ["new.json", found["example_id"], ""]


def test_with_a_label_it_is_asked_why_a_file_is_wrong(telemetry: Telemetry) -> None:
    Path("new.json").write_text("[0.1, 0.2, 3.0, -0.1]", "utf-8")
    words = ("--input", "new.json", *PARTS, "--no-checks")
    done = telemetry("explain", "input", "base", *words, "--label", "low", "--json")
    (found,) = validated("explain", done.out)["attributions"]
    assert (found["label"], found["score"]["other"]) == ("low", "low")
    assert telemetry("explain", "input", "base", *words, "--label", "high").code == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--input", "new.json", "--target", "wrong"), "has no label"),
        (("--input", "new.json", "--target", "true"), "has no label"),
        (("--input", "new.json", "--baseline", "class-sample:4"), "choose another --baseline"),
        (("--input", "new.json", "--label", "blue"), "the label 'blue'"),
        (("--input", "none.npy"), "none.npy: there is no such file"),
        (("--input", "new.json", "--example", 0), "no input was given"),
        (("--example", 0, "--label", "low"), "--label CLASS"),
    ],
)
def test_a_file_that_cannot_be_explained_is_one_line(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    Path("new.json").write_text("[0.1, 0.2, 3.0, -0.1]", "utf-8")
    done = telemetry("explain", "input", "base", *PARTS, *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(example.glob("*/*/attributions"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (PARTS, "no input was given"),
        ((*PARTS, "--example", 5), "is answered correctly"),
        ((*PARTS, "--example", 0, "--worst", 1), "no input was given"),
        ((*PARTS, "--example", 0, "--limit", 1), "--limit N is only for --worst N."),
        ((*PARTS, "--example", 99), "has no example '99'"),
        ((*PARTS, "--example", 0, "--target", "blue"), "no such class"),
        ((*PARTS, "--example", 0, "--compare", "ig"), "another method than --method ig"),
        ((*PARTS, "--example", 0, "--method", "deconv"), "shows the structure of images"),
        ((*PARTS, "--example", 0, "--segments", "grid:2x2"), "expected channels x height x width"),
        (("--example", 0), "no model was given"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    telemetry: Telemetry, example: Path, words: tuple[str, ...], complaint: str
) -> None:
    done = telemetry("explain", "input", "base", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert not list(example.glob("*/*/attributions"))


def test_a_terminal_of_80_columns_holds_it(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry(
        "explain", "input", "base", "--example", 0, *PARTS, "--no-checks", "--no-color"
    )
    *lines, picture = done.out.splitlines()
    assert widest("\n".join(lines)) <= 80
    assert picture.startswith("picture ")  # a path is never broken


def test_a_first_word_alone_lists_its_verbs(telemetry: Telemetry) -> None:
    done = telemetry("explain", "--help")
    assert done.code == 0
    assert "Find out why a trained model answers as it does." in done.out
    assert "  input " in done.out
    assert telemetry("explain", "nothing").code == 2


def test_a_bare_checkpoint_is_asked_like_a_run(
    telemetry: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "other-runs"
    monkeypatch.setenv("TELEMETRY_STORE", str(own))
    torch.save({"weight": torch.tensor([[0.0] * 4, [-1.0] * 4])}, "turned.pt")
    question = ("explain", "input", "turned.pt", "--example", 4, "--no-checks")

    for words, complaint in (
        (question, "no model was given"),
        ((*question, "--model", "shop:build"), "no examples were given"),
        ((*question, *PARTS, "--checkpoint", "turned.pt"), "remove --checkpoint"),
    ):
        refused = telemetry(*words)
        assert (refused.code, refused.out) == (2, "")
        assert complaint in refused.err
    assert telemetry(*question, *PARTS, "--no-store").code == 0
    assert not own.exists()  # nothing was kept, so nothing is there

    assert telemetry(*question, *PARTS).code == 0
    assert telemetry(*question).code == 0  # its run knows how it is built
    assert telemetry("explain", "weights", "turned.pt").code == 0
    counts = telemetry("query", "SELECT run, COUNT(*) AS n FROM attributions GROUP BY run").out
    assert counts.splitlines()[1].startswith("checkpoint-")
