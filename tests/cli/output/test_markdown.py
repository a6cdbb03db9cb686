"""Markdown shows names as they are, whatever they hold."""

from pathlib import Path

import pytest
from command_line import Golden, Telemetry
from hypothesis import given
from hypothesis import strategies as st

from telemetry.cli.options import Settings
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.markdown import MarkdownScreen, escaped

HOSTILE = "a|b <img src=x> [x](http://x) `c` *d* _e_ @f\n# g \x1b[31m"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def screen(lines: list[str]) -> MarkdownScreen:
    return MarkdownScreen(Settings(given_store=Path("runs")), lines.append)


def test_lists_tables_and_sentences_are_set_apart(
    screen: MarkdownScreen, lines: list[str], golden: Golden
) -> None:
    screen.line(Span("VERDICT", Style.STRONG), "regression")
    screen.blank()
    screen.paragraph("val_loss is worse.", indent=2)
    screen.paragraph("1 run", label="base")
    screen.paragraph("2 runs", label="candidate")
    columns = (Column(header="METRIC"), Column(header="", align=Align.RIGHT))
    screen.grid(Grid(columns=columns, rows=((HOSTILE, Span("1.5", Style.ERROR)), ("b", ""))))
    screen.note(Span("  3 more with --json", Style.FAINT))
    screen.verbatim("telemetry query `x`", label="evidence")
    golden("cli/markdown.md", "\n".join(lines) + "\n")


@given(text=st.text())
def test_a_cell_of_a_table_stays_one_cell(text: str) -> None:
    safe = escaped(text)
    assert len(safe.splitlines()) <= 1
    assert "|" not in safe.replace("\\\\", "").replace("\\|", "")
    assert "<" not in safe.replace("\\\\", "").replace("\\<", "").replace("<!-- -->", "")


def test_a_name_with_underscores_stays_readable() -> None:
    assert escaped("val_loss of net_1.fc") == "val_loss of net_1.fc"
    assert escaped("_init_ *x*") == r"\_init\_ \*x\*"


def test_a_sentence_never_begins_a_list(screen: MarkdownScreen, lines: list[str]) -> None:
    for text in ("- x", "+ x", "1. x"):
        screen.paragraph(text)
    assert lines == [r"\- x", "", r"\+ x", "", r"\1. x"]


@pytest.mark.usefixtures("example")
def test_one_form_of_a_result_at_a_time(telemetry: Telemetry) -> None:
    for verb in (["diff", "base", "wide"], ["sweep", "demo"]):
        done = telemetry(*verb, "--json", "--markdown")
        assert done.code == 2
        assert "choose one" in done.err
