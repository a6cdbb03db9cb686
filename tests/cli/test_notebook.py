"""Results as a notebook shows them: complete, escaped, and as the terminal says it."""

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from example_results import DIAGNOSIS
from example_store import HOSTILE_NAME
from synthetic import RunBuilder

import telemetry as library
from telemetry.errors import UsageError
from telemetry.in_notebooks import ShownInNotebooks
from telemetry.store.runs.runs import Runs


class Reader(HTMLParser):
    """Text of a piece of HTML, and its tags, which must match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self._open = "", set[str](), list[str]()
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def results(store: "library.Store") -> dict[str, ShownInNotebooks]:
    base, wide, broken = map(store.select, ("base", "wide", "broken"))
    return {
        "runs": store.runs(),
        "run": base,
        "diagnosis": library.diagnose_run(store, broken),
        "diff": library.diff_runs(store, [base], [wide]),
        "sweep": library.sweep_runs(store, store.runs()),
    }


def test_each_result_shows_what_the_screen_of_its_verb_shows(example: Path) -> None:
    words = {
        "runs": ["broken", "failed", "0.3222"],
        "run": ["aaaaaa", "finished", "0.3222"],
        "diagnosis": ["broken", "cccccc", "non_finite", "the loss is not finite at step 60"],
        "diff": ["VERDICT", "inconclusive", "val_loss best", "net.0"],
        "sweep": ["6 runs", "lowest val_loss", "FAILURE", "warning"],
    }
    for name, result in results(library.Store.open(example)).items():
        page, text = Reader(result._repr_html_()), result._repr_markdown_().replace("\\_", "_")
        assert [word for word in words[name] if word not in page.text] == [], name
        assert [word for word in words[name] if word not in text.replace("**", "")] == [], name
        assert page.tags <= {"div", "p", "b", "span", "table", "thead", "tbody"} | {
            *("tr", "th", "td", "code", "pre")
        }


@pytest.mark.usefixtures("example")
def test_hostile_names_stay_text(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) | @all"
    RunBuilder(example, run="20270102-030405-zzzzzz", name=name).losses([2.0, 1.0]).write()
    runs = library.Store.open(example).runs()
    page = Reader(runs._repr_html_())
    assert "img" not in page.tags
    assert name in page.text
    assert HOSTILE_NAME not in runs._repr_html_()
    row = next(line for line in runs._repr_markdown_().splitlines() if "zzzzzz" in line)
    assert "\\<img" in row
    assert "\\[x\\]" in row
    assert "\\|" in row
    assert "@all" not in row
    assert capsys.readouterr() == ("", "")


def test_a_slice_of_runs_is_shown_as_well_and_nothing_is_as_well(example: Path) -> None:
    runs = library.Store.open(example).runs()
    newest = runs[:2]
    assert isinstance(newest, Runs)
    assert "ffffff" in newest._repr_html_()
    assert "aaaaaa" not in newest._repr_html_()
    assert "no run matches" in Runs()._repr_html_()
    many = Runs([runs[0]] * 23)
    assert "3 more" in many._repr_markdown_()


def test_outcomes_without_a_run_are_shown_without_a_name() -> None:
    assert DIAGNOSIS.run is None
    assert DIAGNOSIS.findings[0].detector in DIAGNOSIS._repr_html_()


def test_runs_are_found_where_the_callback_puts_them(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    example.rename(elsewhere)
    monkeypatch.setenv("TELEMETRY_STORE", str(elsewhere))
    assert len(library.Store.open().runs()) == 6
    monkeypatch.delenv("TELEMETRY_STORE")
    (tmp_path / "telemetry.toml").write_text('store = "elsewhere"\n', "utf-8")
    assert len(library.Store.open().runs()) == 6


def test_a_plot_is_an_svg_and_a_figure_to_go_on_with(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = library.Store.open(example)
    drawn = library.plot(store.select("base"), store.select("wide"), metrics=["val_loss"])
    svg = drawn._repr_svg_()
    assert svg is not None
    assert svg.startswith("<svg ")
    assert "bbbbbb wide" in svg
    (axes,) = drawn.figure().axes
    assert axes.get_ylabel() == "val_loss"
    assert len(axes.lines) == 2
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"training-telemetry\[plot\]"):
        drawn.figure()


def test_a_plot_of_no_run_or_of_names_says_what_it_takes(example: Path) -> None:
    run = library.Store.open(example).select("base")
    with pytest.raises(UsageError, match="no run was given"):
        library.plot()
    with pytest.raises(UsageError, match="plot takes runs"):
        library.plot(run.name)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no run recorded the metric 'los'; did you mean loss"):
        library.plot(run, metrics=["los"])


def test_a_plot_without_a_finite_value_shows_no_picture(store: Path) -> None:
    RunBuilder(store).losses([float("nan")] * 5).write()
    (run,) = library.Store.open(store).runs()
    assert library.plot(run)._repr_svg_() is None
