"""Pictures of curves as files."""

import math
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from synthetic import RunBuilder

from telemetry.compare.plot.files import in_html, in_standalone_svg, write_plot
from telemetry.compare.plot.plot import Plot, plot_runs
from telemetry.errors import UsageError
from telemetry.store.store import Store

SVG = "{http://www.w3.org/2000/svg}"


def plot_of(store: Path, *names: str) -> Plot:
    for letter, name in zip("abc", names, strict=False):
        made = RunBuilder(store, run=f"20260102-030405-{letter * 6}", name=name)
        made.losses([2.0 - 0.01 * step for step in range(100)])
        made.metric("val_loss", {10: 1.5, 90: 1.0 if name != "broken" else math.nan}).write()
    opened = Store.open(store)
    return plot_runs(opened, opened.runs())


def test_an_svg_stands_alone_with_a_chart_a_metric_and_a_line_a_run(tmp_path: Path) -> None:
    text = in_standalone_svg(plot_of(tmp_path, "first", "second")).decode()
    assert "var(" not in text
    root = ET.fromstring(text)  # noqa: S314 - our own
    charts = root.findall(f"{SVG}svg")
    assert [chart.findtext(f"{SVG}title") for chart in charts] == ["loss", "val_loss"]
    lines = [path for path in charts[0].findall(f"{SVG}path") if path.get("stroke-width") == "2"]
    assert len({line.get("stroke-dasharray") for line in lines}) == 2
    assert len(charts[0].findall(f"{SVG}circle")) == 0  # a hundred would hide the line
    assert len(charts[1].findall(f"{SVG}circle")) == 4


def test_a_page_has_charts_and_numbers_and_asks_for_nothing(tmp_path: Path) -> None:
    text = in_html(plot_of(tmp_path, "<b>bold</b>", "broken")).decode()
    assert text.count("<svg") == 2
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    assert "<script" not in text
    assert "Mean over the tenth" in text
    assert ">nan<" in text


def test_a_picture_of_points_has_the_size_of_its_charts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    assert write_plot(plot_of(tmp_path / "runs", "a$b", "second"), path) == path.stat().st_size
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_png_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'training-telemetry\[plot\]'"):
        write_plot(plot_of(tmp_path / "runs", "first"), tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("place", "words"),
    [("curves.gif", "one of .svg, .html, .png"), ("no/x.svg", "is not a folder")],
)
def test_a_place_that_cannot_be_written_is_an_error(place: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        write_plot(plot_of(tmp_path / "runs", "first"), tmp_path / place)
