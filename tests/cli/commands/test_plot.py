from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from synthetic import RunBuilder

pytest.importorskip("plotext")


@pytest.fixture
def _two(store: Path) -> None:
    for letter, scale in (("a", 1.0), ("b", 1.5)):
        builder = RunBuilder(store, run=f"20260102-030405-{letter * 6}", name=f"run-{letter}")
        builder.losses([scale * (2.0 - 0.01 * step) for step in range(100)])
        builder.metric("val_loss", {20: 2.0 * scale, 60: scale, 99: 0.9 * scale}).write()


@pytest.mark.usefixtures("_two")
@pytest.mark.parametrize("width", [80, 120])
def test_the_charts_fit_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("plot", "aaaaaa", "bbbbbb", "--no-color")
    assert (done.code, done.err) == (0, "")
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/plot-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


@pytest.mark.usefixtures("_two")
def test_curves_are_told_apart_by_letters_where_there_are_no_colours(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(80)
    plain = telemetry("plot", "aaaaaa", "bbbbbb", "--metric", "loss", "--no-color").out
    assert "\x1b" not in plain
    assert "aa aaaaaa run-a" in plain
    assert "bb bbbbbb run-b" in plain
    coloured = telemetry("plot", "aaaaaa", "bbbbbb", "--metric", "loss").out
    assert "\x1b[9" in coloured
    assert "⠤" in coloured


@pytest.mark.usefixtures("_two")
def test_a_terminal_without_unicode_gets_ascii(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(80)
    monkeypatch.setenv("LC_ALL", "C")
    done = telemetry("plot", "aaaaaa", "--no-color")
    assert done.out.isascii()
    assert "+-----" in done.out


@pytest.mark.usefixtures("_two")
def test_a_pipe_gets_every_point(telemetry: Telemetry) -> None:
    lines = telemetry("plot", "aaaaaa", "bbbbbb", "--metric", "loss", "--raw").out.splitlines()
    assert lines[0].split("\t") == ["METRIC", "RUN", "STEP", "VALUE"]
    assert len(lines) == 1 + 200
    assert lines[1].split("\t") == ["loss", "aaaaaa", "0", "2.0"]


@pytest.mark.usefixtures("_two")
def test_json_holds_the_points_and_a_file_can_be_written_beside(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    done = telemetry("plot", "run-*", "--json", "-o", tmp_path / "curves.svg")
    document = validated("plot", done.out)
    assert [metric["name"] for metric in document["metrics"]] == ["loss", "val_loss"]
    assert [curve["smoothed"] for curve in document["metrics"][0]["curves"]] == [True, True]
    assert (tmp_path / "curves.svg").read_text().startswith("<svg ")


@pytest.mark.usefixtures("_two")
def test_a_pull_request_gets_the_picture_as_a_block(telemetry: Telemetry) -> None:
    out = telemetry("plot", "aaaaaa", "--md", "--metric", "loss").out
    assert "```text" in out
    assert "| RUN | NAME | LAST | BEST |" in out.replace(" |  |", " |")


@pytest.mark.usefixtures("store")
def test_a_run_whose_values_are_not_finite_is_told_by_its_numbers(
    telemetry: Telemetry, store: Path, terminal: Terminal
) -> None:
    RunBuilder(store, name="broken").losses([float("nan")] * 3).write()
    terminal(80)
    out = telemetry("plot", "broken", "--no-color").out
    assert "nan" in out
    assert "┌" not in out
