"""The whole command in a pseudo-terminal, as a person sees it."""

import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Telemetry

from telemetry.cli.output import progress


class Items(list[int]):
    """Three things to work through."""


def in_a_terminal(arguments: list[str], width: int) -> str:
    """Output of a command whose stdout is a terminal of that width."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "telemetry", *arguments],
        stdin=child,
        stdout=child,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(child)
    text = b"".join(_chunks(parent)).decode()
    process.wait()
    os.close(parent)
    return text


def _chunks(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # the other side was closed
            return
        if not chunk:
            return
        yield chunk


def test_a_person_sees_colour_and_columns(template: Path) -> None:
    text = in_a_terminal(["runs", "--store", str(template)], 80)
    assert "\x1b[1;31mfailed" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines()) <= 80
    assert "\t" not in plain


def test_no_color_is_honoured_in_a_terminal(
    template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in in_a_terminal(["runs", "--store", str(template)], 80)


def test_a_bar_shows_only_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE_S", math.inf)
    assert list(progress.tracked(Items([1, 2, 3]), "diagnosing")) == [1, 2, 3]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    assert list(progress.tracked(Items([1, 2, 3]), "diagnosing")) == [1, 2, 3]
    assert "diagnosing" in capsys.readouterr().err


def test_a_bar_of_a_slow_start_shows_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.counted_bar("explaining"):
        pass
    assert capsys.readouterr().err == ""
    with progress.counted_bar("explaining", at_once=True):
        pass
    assert "explaining" in capsys.readouterr().err


def test_no_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.tracked(Items([1, 2, 3]), "diagnosing")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("example")
def test_a_store_full_of_damage_is_not_a_wall_of_warnings(
    telemetry: Telemetry, example: Path
) -> None:
    folder = next(example.glob("project=demo/*bbbbbb/steps/rank=0"))
    for index in range(30):
        (folder / f"{index:012d}-{index:012d}-L0-0001{index:012x}.parquet").write_bytes(b"")
    done = telemetry("diagnose", "wide")
    warnings = done.err.splitlines()
    assert len(warnings) == 21
    assert warnings[-1] == "telemetry: warning: and 10 more"
