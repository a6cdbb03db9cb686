import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from command_line import Telemetry, validated
from synthetic import RunBuilder

from telemetry.cli.commands import ui


def test_its_json_says_where_the_pages_are_and_ctrl_c_ends_it(store: Path) -> None:
    RunBuilder(store).losses([2.0, 1.0]).write()
    command = [sys.executable, "-P", "-m", "telemetry", "ui", "--json", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(server.stdout.readline())
            assert lines[-1]
        told = validated("ui", "".join(lines))
        assert str(told["url"]).startswith(f"http://127.0.0.1:{told['port']}/?token=")
        assert told["store"] == str(store.absolute())
        with urllib.request.urlopen(str(told["url"])) as answer:  # noqa: S310 - our own
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


@pytest.mark.usefixtures("store")
def test_a_port_that_is_taken_is_an_error(telemetry: Telemetry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = telemetry("ui", "--no-open", "--port", port)
    assert done.code == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in done.err
    assert "--port" in done.err


def test_a_store_that_is_a_file_is_an_error(telemetry: Telemetry, store: Path) -> None:
    store.write_text("", "utf-8")
    done = telemetry("ui", "--no-open")
    assert done.code == 2
    assert "must be a folder" in done.err


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_the_command_to_install_it_is_told(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("telemetry.cli.ui.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = telemetry("ui", "--no-open")
    assert done.code == 2
    assert "pip install 'training-telemetry[ui]'" in done.err


def test_a_browser_is_opened_only_where_it_has_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not ui._has_windows()
    monkeypatch.setenv("DISPLAY", ":0")
    assert ui._has_windows()
    monkeypatch.setenv("SSH_CONNECTION", "a 1 b 2")
    assert not ui._has_windows()
