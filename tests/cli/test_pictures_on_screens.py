"""Images and marked texts: in colours where people see them, in characters everywhere else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.cli.options import Settings
from telemetry.cli.output.grid import Word
from telemetry.cli.output.render import open_screen

PLAIN = Settings(given_store=Path("runs"), color=False)
COLOURED = Settings(given_store=Path("runs"), color=True)
ROWS = [["#2166ac", "#f7f7f7"], ["#b35806", "#2166ac"]]
MARKS = ["+.", "-+"]
WORDS = [
    Word("good", "+1.2", "#2166ac", "#ffffff"),
    Word("\x1b[2J猫", "-0.5", "#b35806", "#ffffff"),
    Word("same", "", "#f7f7f7", "#000000"),
]
ESCAPES = re.compile("\x1b\\[[0-9;]*m")

Terminal = Callable[[int], None]
Capture = pytest.CaptureFixture[str]


def drawn(settings: Settings, capsys: Capture) -> str:
    open_screen(settings).picture(ROWS, MARKS)
    return capsys.readouterr().out


def written(settings: Settings, capsys: Capture) -> str:
    open_screen(settings).words(WORDS, label="wrong")
    return capsys.readouterr().out


def test_two_pixels_share_a_character_in_256_colours(
    terminal: Terminal, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    terminal(80)
    text = drawn(COLOURED, capsys)
    assert ESCAPES.sub("", text) == "  ▀▀\n"
    assert "38;5;" in text
    assert "48;5;" in text
    assert "38;2;" not in text


def test_a_terminal_of_true_colours_gets_them(
    terminal: Terminal, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    terminal(80)
    open_screen(COLOURED).picture([["#010203"]], [])  # a colour that no other test has: rich caches
    assert "38;2;1;2;3" in capsys.readouterr().out


def test_a_wide_image_is_thinned_to_the_terminal(terminal: Terminal, capsys: Capture) -> None:
    terminal(40)
    open_screen(COLOURED).picture([["#2166ac"] * 64] * 64, [])
    lines = ESCAPES.sub("", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 40
    assert len(lines) == 16


def test_without_colours_an_image_is_signs(terminal: Terminal, capsys: Capture) -> None:
    assert drawn(PLAIN, capsys) == "+.\n-+\n"  # a pipe
    terminal(80)
    assert drawn(PLAIN, capsys) == "  +.\n  -+\n"  # NO_COLOR


def test_a_terminal_without_unicode_gets_signs(
    terminal: Terminal, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    terminal(80)
    assert drawn(COLOURED, capsys) == "  +.\n  -+\n"


def test_markdown_has_the_signs_in_a_block(capsys: Capture) -> None:
    settings = Settings(given_store=Path("runs"), color=False, output_markdown=True)
    assert drawn(settings, capsys) == "```text\n+.\n-+\n```\n"


def test_words_stand_on_their_colours_with_their_values(
    terminal: Terminal, capsys: Capture
) -> None:
    terminal(80)
    text = written(COLOURED, capsys)
    assert "48;" in text
    assert "\x1b[2J" not in text
    assert ESCAPES.sub("", text).split() == ["wrong", "good+1.2", "\\x1b[2J猫-0.5", "same"]


def test_words_without_colours_have_their_values_in_brackets(
    terminal: Terminal, capsys: Capture
) -> None:
    said = "good(+1.2) \\x1b[2J猫(-0.5) same"
    assert written(PLAIN, capsys) == f"wrong\t{said}\n"
    terminal(80)
    assert " ".join(written(PLAIN, capsys).split()) == f"wrong {said}"
