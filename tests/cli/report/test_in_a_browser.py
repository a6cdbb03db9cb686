"""A page as a browser lays it out, at several widths; skipped where no browser is installed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import Telemetry
from synthetic import RunBuilder

from telemetry.json_values import Json

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
WIDTHS = (360, 800, 1600)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--window-size=1700,900", "--virtual-time-budget=4000", "--dump-dom"),
)
# Looks into each page from outside, so that the page keeps its own policy.
LOOK = """
window.addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, window_ = frame.contentWindow;
    const box = page.querySelector('.box[data-kind="lines"]');
    const area = box.getBoundingClientRect();
    box.dispatchEvent(new window_.PointerEvent("pointermove", {
      clientX: area.left + area.width / 2, clientY: area.top + 9, bubbles: true }));
    const rows = page.querySelector('.box[data-kind="rows"]');
    const told = page.querySelector(".tip") && page.querySelector(".tip").textContent;
    const where = rows.getBoundingClientRect();
    rows.dispatchEvent(new window_.PointerEvent("pointermove", {
      clientX: where.left + 5, clientY: where.top + 5, bubbles: true }));
    page.querySelector(".key li").click();
    return {
      overflow: page.documentElement.scrollWidth - window_.innerWidth,
      flat: [...page.querySelectorAll(".box > svg")]
        .filter((svg) => svg.getBoundingClientRect().width < 80
          || svg.getBoundingClientRect().height < 15).length,
      told, of_row: page.querySelector(".tip").textContent,
      hidden: page.querySelectorAll("path.line[hidden]").length,
      letters: Math.min(...[...page.querySelectorAll(".left span, .below span")]
        .map((label) => parseFloat(window_.getComputedStyle(label).fontSize))),
    };
  });
  document.body.dataset.found = JSON.stringify(found);
});
"""


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_page_fits_every_width_and_its_script_may_run(
    telemetry: Telemetry, store: Path, tmp_path: Path
) -> None:
    _run(store, "a", 1.0)
    _run(store, "b", 2.0)
    assert telemetry("report", "aaaaaa", "bbbbbb", "-o", "report.html").code == 0
    page = html.escape(Path("report.html").read_text("utf-8"))
    frames = "".join(f'<iframe width="{w}" height="900" srcdoc="{page}"></iframe>' for w in WIDTHS)
    Path("frames.html").write_text(f"<body>{frames}<script>{LOOK}</script>", "utf-8")
    for found in _looked_at(tmp_path / "frames.html", tmp_path / "profile"):
        assert found["overflow"] <= 0
        assert found["flat"] == 0
        assert found["letters"] >= 10
        assert found["hidden"] == 1
        assert str(found["told"]).startswith("step ")
        assert "bbbbbb run-b: 2.94" in str(found["told"])
        assert str(found["of_row"]).startswith("a.rather.long.name.of.a.layer\nsteps ")


def _run(store: Path, letter: str, scale: float) -> None:
    builder = RunBuilder(store, run=f"20260102-030405-{letter * 6}", name=f"run-{letter}")
    builder.losses([scale * (2.0 - 0.02 * step) for step in range(60)], every=10)
    name = "a.rather.long.name.of.a.layer.weight"
    builder.parameter(name, shape=(8, 16), depth=0)
    for step in range(0, 60, 10):
        values = np.linspace(-1, 1, 128, dtype=np.float32)
        for kind, factor in (("weight", 1.0), ("gradient", 0.1), ("update", 0.001)):
            builder.tensor(name, kind, step, values * np.float32(factor))
    builder.write()


def _looked_at(page: Path, profile: Path) -> list[dict[str, Json]]:
    """What was found in each frame."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stdout[-2000:]
    looked: list[dict[str, Json]] = json.loads(html.unescape(found[1]))
    return looked
