"""What a pipe gets, what a terminal gets, and what neither may get: control characters."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style, counted, mark
from telemetry.diagnose.finding import Severity

SETTINGS = Settings(given_store=Path("runs"), color=False)
GRID = Grid(
    columns=(
        Column(header="RUN"),
        Column(header="NAME", shrinks=True),
        Column(header="STEPS", align=Align.RIGHT),
        Column(header="trend", rank=2),
        Column(header="NOTE", rank=1),
    ),
    rows=(
        ("7f3a91", "a name that is much longer than it has any need to be", counted(1204)),
        ("c04d1e", "short", counted(89301)),
    ),
)
FULL = Grid(
    columns=GRID.columns,
    rows=tuple((*row, Span("▁▂▃▄▅▆▇█", Style.GOOD), "none") for row in GRID.rows),
)


def shown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> list[str]:
    render.open_screen(settings).grid(FULL)
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_every_value_whole_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    header, first, _ = shown(SETTINGS, capsys)
    assert header.split("\t") == ["RUN", "NAME", "STEPS", "trend", "NOTE"]
    assert first.split("\t")[1:3] == [GRID.rows[0][1], "1204"]


def test_a_terminal_gets_columns_no_wider_than_itself(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(60)
    header, first, second = (line.rstrip() for line in shown(SETTINGS, capsys))
    assert max(len(line) for line in (header, first, second)) <= 60
    assert "…" in first
    assert first.endswith("1 204  ▁▂▃▄▅▆▇█  none")
    assert second.index("89 301") == first.index(" 1 204")


def test_the_highest_rank_is_left_out_first(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(46)
    header = shown(SETTINGS, capsys)[0]
    assert header.split() == ["RUN", "NAME", "STEPS", "NOTE"]
    terminal(36)
    assert shown(SETTINGS, capsys)[0].split() == ["RUN", "NAME", "STEPS"]


def test_a_line_is_never_wider_than_99_unless_asked(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(150)
    text = "word " * 100
    for settings, width in ((SETTINGS, 99), (Settings(given_store=Path("runs"), wide=True), 150)):
        render.open_screen(settings).paragraph(text)
        longest = max(len(line) for line in capsys.readouterr().out.splitlines())
        assert width - 5 < longest <= width


def test_colour_is_for_terminals_that_want_it(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def line(settings: Settings) -> str:
        render.open_screen(settings).line(mark(Severity.ERROR), "bad")
        return capsys.readouterr().out

    coloured = Settings(given_store=Path("runs"))
    assert line(coloured) == "E\tbad\n"
    terminal(80)
    assert line(coloured) == "\x1b[1;31mE\x1b[0m  bad\n"
    assert line(SETTINGS) == "E  bad\n"


@pytest.mark.parametrize("width", [0, 80])
def test_hostile_text_cannot_reach_the_terminal(
    width: int, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    if width:
        terminal(width)
    screen = render.open_screen(SETTINGS)
    hostile = "x\x1b]0;owned\x07\r\n[bold]y[/bold]\u202e"
    screen.line(hostile)
    screen.paragraph(hostile, label="try")
    screen.grid(Grid(columns=(Column(header=hostile),), rows=((hostile,),)))
    screen.warn(hostile)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not set(text) & {"\x1b", "\x07", "\r", "\u202e"}
        assert "[bold]y[/bold]" in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_message_on_a_terminal_is_folded_between_words(
    *, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    render.complain("run 7f3a has no loss, so that nothing can be compared.", "try: telemetry runs")
    lines = capsys.readouterr().err.splitlines()
    if is_terminal:
        assert lines == [
            "telemetry: error: run 7f3a has no",
            "  loss, so that nothing can be compared.",
            "  try: telemetry runs",
        ]
    else:
        assert len(lines) == 2


def test_titles_and_legends_are_for_people_only(
    terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    render.open_screen(SETTINGS).note("5 runs")
    assert capsys.readouterr().out == ""
    terminal(80)
    render.open_screen(SETTINGS).note("5 runs")
    assert capsys.readouterr().out == "5 runs\n"


def test_an_ascii_terminal_gets_ascii(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    screen = render.open_screen(SETTINGS)
    assert screen.trend([1.0, 2.0, math.nan, math.inf]).text == "_#x^"
    screen.json({"name": "größe"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out)["name"] == "größe"


def test_json_is_one_strict_object_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    render.open_screen(SETTINGS).json({"value": math.nan, "name": "größe"})
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": 1,
        "value": "nan",
        "name": "größe",
    }


def test_a_long_sentence_is_folded_under_itself() -> None:
    lines = render.fold("one two three four five", width=32, indent=2, label="try")
    assert lines == ["  try       one two three four", "            five"]
    assert render.fold("", width=20, indent=2, label="") == [""]


def test_a_number_is_not_folded_between_its_thousands() -> None:
    lines = render.fold("a gain of about 14 000 000× in 3 steps", width=20, indent=0, label="")
    assert lines == ["a gain of about", "14 000 000× in 3", "steps"]


def test_wide_characters_are_folded_by_the_cells_that_they_take() -> None:
    words = " ".join(["東京"] * 6)  # of 29 cells, and 17 characters
    lines = render.fold(words, width=24, indent=0, label="")
    assert lines == [" ".join(["東京"] * 5), "東京"]
