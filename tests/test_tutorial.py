"""Every command of the tutorial works, in its order, in a copy of its folder."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.cli.main import run
from telemetry.requests.record import start_file_is_installed

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
COMMAND = re.compile(
    r"^\$ telemetry(?P<words>[^#\n]*)(?:# exit (?P<codes>[\d or]+))?$", re.MULTILINE
)
VERBS = {
    *("record", "show", "diagnose", "detectors", "layers", "plot", "query", "try", "diff"),
    *("sweep", "evaluate", "explain"),
}
MAX_MINUTES = 30


def commands() -> list[tuple[list[str], set[int]]]:
    """Words of each command and the exit codes that the page allows, 0 where it says nothing."""
    return [
        (
            shlex.split(found["words"]),
            {int(code) for code in (found["codes"] or "0").split(" or ")},
        )
        for found in COMMAND.finditer(PAGE.read_text("utf-8"))
    ]


def recorded(words: list[str]) -> int:
    """Exit code of a command that becomes the process of a script."""
    return subprocess.call([sys.executable, "-m", "telemetry", *words])


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.no_cover
@pytest.mark.skipif(not start_file_is_installed(), reason="telemetry is not installed by pip")
def test_each_command_of_the_tutorial_works_and_shows_what_the_page_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tutorial"
    shutil.copytree(ROOT / "examples" / "tutorial", folder)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TELEMETRY_")]:
        monkeypatch.delenv(name)
    said = ""
    for words, codes in commands():
        code = recorded(words) if "record" in words else run(words)
        out, err = capfd.readouterr()
        assert code in codes, (words, out, err)
        assert out, words
        said += out
    for shown in ("learning_rate_too_high", "dead_units", "replayed bit for bit", "converged"):
        assert shown in said
    assert "8 runs" in said
    assert "300 examples of train:Valid" in said


def test_the_tutorial_goes_once_round_in_half_an_hour() -> None:
    assert {words[0] for words, _ in commands() if words} == VERBS
    minutes = re.findall(r"^## \d\. .*\((\d+) minutes\)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sum(map(int, minutes)) == MAX_MINUTES
