"""A page that is open follows the store; skipped where no browser is installed."""

import re
import shutil
import subprocess
from itertools import count
from pathlib import Path

import pytest
from page_server import serving
from synthetic import RunBuilder

from telemetry.cli.ui import kept, list_page
from telemetry.compare.watch import watcher

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=9000", "--dump-dom"),
)


@pytest.mark.slow  # a browser starts
@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_an_open_page_is_replaced_when_there_is_a_newer_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunBuilder(store).losses([2.0, 1.0]).write()
    versions = count(1)
    monkeypatch.setattr(list_page, "_version", lambda _runs: str(next(versions)))
    for module, name, value in (
        (watcher, "LEAST_REST_S", 0.0),  # the browser's time runs faster than ours
        (kept, "LOOK_SHARE", 1e9),
        (kept, "DRAWING_SHARE", 1e9),
    ):
        monkeypatch.setattr(module, name, value)
    with serving(store) as browser:
        address = f"{browser.address}/?token={browser.keys.token}"
        command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    page = done.stdout
    assert "<h1>runs</h1>" in page, page[-2000:]
    assert "kept up to date" in page
    found = re.search(r'data-version="(\d+)"', page)
    assert found is not None
    assert int(found[1]) > 1
