from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest

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


def test_the_json_document_has_its_published_shape(telemetry: Telemetry) -> None:
    words = ("--worst", 2, *PARTS, "--json", "--method", "occlusion", "--no-store")
    document = validated("explain", telemetry("explain", "input", "base", *words).out)
    assert document["stored"] is False
    assert len(document["attributions"]) == 2
    assert document["attributions"][0]["image"] is None


def test_a_failed_check_is_said_and_ends_with_3(telemetry: Telemetry, example: Path) -> None:
    """Nothing passes a gradient through a model that rounds its inputs."""
    parts = ("--model", "shop:build_blind", "--dataset", "shop:valid", "--baseline", "zero")
    done = telemetry("explain", "input", "base", "--example", 0, *parts, "--no-checks")
    assert done.code == 3
    assert "FAILED\tnot_empty: this score does not depend on this input" in done.out
    assert list(example.glob("*/*/attributions/*/*.parquet"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (PARTS, "explain which input?"),
        ((*PARTS, "--example", 5), "is answered rightly"),
        ((*PARTS, "--example", 0, "--worst", 1), "explain which input?"),
        ((*PARTS, "--example", 99), "has no example '99'"),
        ((*PARTS, "--example", 0, "--target", "blue"), "no such class"),
        ((*PARTS, "--example", 0, "--segments", "grid:2x2"), "expected channels x height x width"),
        (("--example", 0), "which model?"),
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
    assert widest(done.out) <= 80


def test_a_first_word_alone_lists_its_verbs(telemetry: Telemetry) -> None:
    done = telemetry("explain", "--help")
    assert done.code == 0
    assert "Ask a trained model why it answers as it does." in done.out
    assert "  input " in done.out
    assert telemetry("explain", "nothing").code == 2
