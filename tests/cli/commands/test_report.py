import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import Golden, Telemetry, validated
from synthetic import RunBuilder

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[2J</script><script>alert(2)</script>"
# What a page could load or send something with.
LOADING = re.compile(
    r"(src|href|action|xlink:href|srcset)\s*=\s*(?![\"']?(#|data:))", re.IGNORECASE
)
SIZES = re.compile(r"\d+(\.\d+)? (B|kB|MB)\b")


class Outline(HTMLParser):
    """Headings, tables and drawings of a page, in their order; nothing of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open: list[str] = []
        self.unclosed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag in {"path", "meta", "img", "br"}:
            if tag == "path":
                self.lines.append(f"  path {names.get('class') or 'coloured'}")
            return
        self._open.append(tag)
        if tag in {"section", "figure", "table", "script", "nav", "form", "iframe", "link"}:
            self.lines.append(f"{tag} {names.get('class') or ''}".rstrip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "path":
            return
        if not self._open or self._open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"h1", "h2", "h3", "th", "title"}:
            self.lines.append(f"{self._open[-1]}: {data}")


def outline(page: str) -> str:
    """Equal lines one after the other are counted."""
    parser = Outline()
    parser.feed(page)
    assert parser.unclosed == []
    found: list[list[str]] = []
    for line in parser.lines:
        if found and found[-1][0] == line:
            found[-1].append(line)
        else:
            found.append([line])
    return "\n".join(
        f"{lines[0]} ({len(lines)}×)" if len(lines) > 1 else lines[0] for lines in found
    )


def trained(store: Path, letter: str, *, scale: float = 1.0, **more: object) -> RunBuilder:
    """A run of sixty steps with two layers, whose last ReLU is dead from its middle on."""
    builder = RunBuilder(store, run=f"20260102-030405-{letter * 6}", name=f"run-{letter}", **more)
    builder.losses([scale * (2.0 - 0.02 * step) for step in range(60)], every=10)
    builder.metric("val_loss", {20: 2.0 * scale, 40: scale, 59: 0.9 * scale})
    builder.module("relu", type_="ReLU", depth=1, role="activation")
    numbers = np.random.default_rng(3)
    for depth, name in enumerate(("first.weight", "last.weight")):
        builder.parameter(name, shape=(8, 16), depth=2 * depth).module(name[:-7], depth=2 * depth)
        for step in range(0, 60, 10):
            values = numbers.normal(size=128).astype(np.float32)
            builder.tensor(name, "weight", step, values)
            builder.tensor(name, "gradient", step, values * np.float32(0.1))
            builder.tensor(name, "update", step, values * np.float32(0.001))
    for step in range(0, 60, 10):
        dead = bytes([255 if step >= 30 else 0])
        builder.activation("relu", "output", step, n_units=8, n_dead=8 * (step >= 30), dead=dead)
    return builder


@pytest.fixture
def _three(store: Path) -> None:
    for letter, scale in (("a", 1.0), ("b", 1.5), ("c", 2.0)):
        trained(store, letter, scale=scale, config={"lr": scale, "kind": letter}).write()


def page_of(telemetry: Telemetry, *selectors: str) -> str:
    done = telemetry("report", *selectors, "-o", "report.html")
    assert (done.code, done.err) == (0, "")
    return Path("report.html").read_text("utf-8")


@pytest.mark.usefixtures("_three")
def test_a_page_of_one_run_has_every_part(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/report-one.txt", outline(page_of(telemetry, "aaaaaa")))


@pytest.mark.usefixtures("_three")
def test_two_runs_are_compared(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/report-two.txt", outline(page_of(telemetry, "aaaaaa", "bbbbbb")))


@pytest.mark.usefixtures("_three")
def test_many_runs_are_a_sweep(telemetry: Telemetry, golden: Golden) -> None:
    golden("cli/report-sweep.txt", outline(page_of(telemetry, "run-*")))


@pytest.mark.usefixtures("_three")
@pytest.mark.parametrize("selectors", [("aaaaaa",), ("aaaaaa", "bbbbbb"), ("run-*",)])
def test_nothing_on_a_page_is_loaded_from_elsewhere(
    telemetry: Telemetry, selectors: tuple[str, ...]
) -> None:
    page = page_of(telemetry, *selectors)
    assert LOADING.findall(page) == []
    assert "://" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src &#x27;none&#x27;" in page
    for asking in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "innerHTML", "eval("):
        assert asking not in page


def test_what_others_named_stays_text(telemetry: Telemetry, store: Path) -> None:
    for letter, scale in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        builder = trained(store, letter, scale=scale, config={HOSTILE: scale, "lr": HOSTILE})
        builder.name = HOSTILE
        builder.metric(HOSTILE, {20: scale, 59: 1.0}).module(HOSTILE, depth=9)
        builder.parameter(f"{HOSTILE}.weight", shape=(4, 4), depth=9)
        values = np.ones(16, dtype=np.float32)
        for step in (0, 30):
            for kind in ("weight", "gradient", "update"):
                builder.tensor(f"{HOSTILE}.weight", kind, step, values)
        builder.activation(HOSTILE, "output", 30, n_units=8, n_dead=8)
        builder.write()
    for selectors in (("aaaaaa",), ("aaaaaa", "bbbbbb"), ("aaaaaa", "bbbbbb", "cccccc")):
        page = page_of(telemetry, *selectors)
        assert "alert(1)" in page  # it is there, as text
        assert "<img" not in page
        assert page.count("<script>") == 1
        assert "\x1b" not in page
        outline(page)


def test_a_run_of_nothing_but_nan_says_so(telemetry: Telemetry, store: Path) -> None:
    builder = RunBuilder(store, name="broken").losses([float("nan")] * 30, every=10)
    builder.parameter("last.weight", shape=(4, 4), depth=0)
    for step in (0, 10, 20):
        for kind in ("weight", "gradient", "update"):
            builder.tensor("last.weight", kind, step, np.full(16, np.nan, dtype=np.float32))
    builder.write()
    page = page_of(telemetry, "broken")
    assert (
        "No value is finite: aaaaaa broken is not finite at 30 of 30 points, first at step 0"
        in page
    )
    assert 'class="broken"' in page
    assert "NaN" not in re.sub(r"<p.*?</p>", "", page, flags=re.DOTALL)


def test_an_empty_run_has_a_page_that_says_so(telemetry: Telemetry, store: Path) -> None:
    RunBuilder(store, name="empty").write()
    page = page_of(telemetry, "empty")
    assert "neither a step nor a metric" in page
    assert "No step was sampled" in page
    assert "<figure" not in page


def test_where_a_curve_breaks_off_is_said(telemetry: Telemetry, store: Path) -> None:
    losses = [2.0 - 0.01 * step for step in range(50)] + [float("inf")] * 10
    RunBuilder(store, name="late").losses(losses).write()
    page = page_of(telemetry, "late")
    assert "is not finite at 8 of 60 points, first at step 52" in page
    assert not any("inf" in path for path in re.findall(r' d="[^"]*"', page))


@pytest.mark.usefixtures("_three")
def test_json_is_a_document_and_a_page_can_be_written_beside(telemetry: Telemetry) -> None:
    done = telemetry("report", "aaaaaa", "bbbbbb", "--json", "-o", "report.html")
    document = validated("report", done.out)
    assert document["n_runs"] == 2
    assert [len(run["weights"]) for run in document["runs"]] == [2, 2]
    assert document["runs"][0]["dead_share"][0]["values"][-10] == 1.0
    assert document["diff"]["verdict"]
    assert document["sweep"] is None
    assert Path("report.html").is_file()
    assert validated("report", telemetry("report", "run-*", "--json").out)["sweep"]["runs"]


@pytest.mark.usefixtures("_three")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("aaaaaa",), "say where, as with `-o report.html`"),
        (("nobody", "-o", "report.html"), "nobody"),
        (("run-", "-o", "report.html"), "run-"),
        (("aaaaaa", "-o", "nowhere/report.html"), "nowhere is not a folder"),
        (("aaaaaa", "-o", "."), "is a directory"),
        (("aaaaaa", "-o", "report.pdf"), "let its name end in .html"),
        (("aaaaaa", "-o", "report.html", "--metric", "los"), "no run recorded the metric 'los'"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(
    telemetry: Telemetry, arguments: tuple[str, ...], said: str
) -> None:
    done = telemetry("report", *arguments)
    assert done.code == 2
    assert said in done.err
    assert not Path("report.html").exists()
