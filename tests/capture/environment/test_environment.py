import os
import sys
from pathlib import Path

import pytest
import torch

from telemetry.capture.environment import environment
from telemetry.capture.environment.environment import capture_environment, script_name
from telemetry.format.replay import RECORDED_VARIABLES
from telemetry.json_values import dumps


def test_versions_host_and_devices_are_known_at_once() -> None:
    found = capture_environment()
    assert found["torch"] == torch.__version__
    assert found["python"] == ".".join(str(part) for part in sys.version_info[:3])
    for key in ("product", "pyarrow", "platform", "hostname"):
        assert found[key]
    assert found["world_size"] == 1
    assert isinstance(found["cpu_count"], int)
    assert isinstance(found["devices"], list)
    dumps(found)


def test_no_variable_is_copied_unless_it_is_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3" * 1000)
    found = capture_environment()
    assert "verysecret" not in dumps(found)
    variables = found["variables"]
    assert isinstance(variables, dict)
    assert variables["OMP_NUM_THREADS"] == "3" * 200
    assert set(variables) <= set(RECORDED_VARIABLES)
    assert not [name for name in RECORDED_VARIABLES if "TOKEN" in name or "SECRET" in name]


def test_cuda_is_not_initialised_to_ask_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    for name in ("is_available", "device_count", "get_device_name", "init"):
        monkeypatch.setattr(torch.cuda, name, forbidden)
    capture_environment()


def test_initialised_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert capture_environment()["devices"] == ["GPU 0", "GPU 1"]


@pytest.mark.parametrize(
    ("argv", "name"),
    [(["/home/me/train.py", "--lr=1"], "train.py"), (["-c"], ""), ([""], ""), ([], "")],
)
def test_the_script_is_named_without_its_folder(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], name: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert script_name() == name


def test_a_system_without_proc_and_affinity_still_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "uname")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(environment, "Path", lambda *parts: tmp_path.joinpath(*parts[1:], "none"))
    monkeypatch.setattr(sys, "argv", ["-c"])
    found = capture_environment()
    assert found["platform"] == sys.platform
    assert found["cpu"] == ""


def test_a_distribution_that_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "DISTRIBUTION", "no-such-distribution")
    assert capture_environment()["product"] == ""


def test_an_apple_device_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(environment, "Path", lambda *parts: tmp_path.joinpath("none", *parts[1:]))
    assert capture_environment()["devices"] == ["Apple MPS"]


def test_a_kernel_that_does_not_name_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = tmp_path / "cpuinfo"
    silent.write_text("processor : 0\n")
    monkeypatch.setattr(environment, "Path", lambda *_: silent)
    assert capture_environment()["cpu"] == ""
