"""The command around the full screen; tests/cli/watch has the screen itself."""

import sys
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated
from judged_runs import Chain, learning


@pytest.fixture
def _broken(store: Path) -> None:
    run = Chain(store, name="broken").layers(2)
    run.losses([*learning(60), *[float("nan")] * 4], every=20)
    for step in (0, 20, 40):
        run.gradients(step, [0.5, 1.0])
    run.write()


@pytest.mark.usefixtures("_broken")
def test_json_is_one_look(telemetry: Telemetry) -> None:
    done = telemetry("watch", "broken", "--json")
    assert (done.code, done.err) == (0, "")
    (seen,) = validated("watch", done.out)["runs"]
    assert seen["findings"][0]["detector"] == "non_finite"
    assert [layer["layer"] for layer in seen["layers"]] == ["l0", "l1"]
    assert seen["steps_per_s"] == pytest.approx(100)


@pytest.mark.usefixtures("_broken")
def test_a_pipe_is_told_what_to_use_instead(telemetry: Telemetry) -> None:
    done = telemetry("watch", "broken")
    assert done.code == 2
    assert "telemetry diagnose --follow" in done.err


@pytest.mark.usefixtures("_broken")
def test_without_textual_the_command_to_install_it_is_told(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(80)
    for name in [name for name in sys.modules if name.startswith("telemetry.cli.watch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    done = telemetry("watch", "broken")
    assert done.code == 2
    assert "pip install 'training-telemetry[watch]'" in " ".join(done.err.split())


def test_a_store_without_runs_is_an_error(telemetry: Telemetry, store: Path) -> None:
    store.mkdir()
    assert telemetry("watch").code == 2
