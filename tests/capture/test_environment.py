import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from telemetry.capture import environment
from telemetry.capture.environment import (
    ALLOWED_VARIABLES,
    capture_environment,
    git_state,
    script_name,
)
from telemetry.json_values import dumps

GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],  # noqa: S607 - whichever git the tests' machine has
        cwd=folder,
        env={**os.environ, **GIT_IDENTITY},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


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
    assert set(variables) <= set(ALLOWED_VARIABLES)
    assert not [name for name in ALLOWED_VARIABLES if "TOKEN" in name or "SECRET" in name]


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


def test_the_commit_and_whether_it_was_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    clean = {"git_commit": commit, "git_dirty": False, "git_branch": "trunk"}
    assert git_state(repository) == clean
    (repository / "notes.txt").write_text("untracked files change no training\n")
    assert git_state(repository) == clean
    (repository / "train.py").write_text("lr = 0.2\n")
    assert git_state(repository) == {**clean, "git_dirty": True}


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    assert set(git_state(repository)) == {"git_commit", "git_dirty"}


def test_outside_of_a_repository_there_is_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {}
    assert git_state(tmp_path / "gone") == {}


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {}


def test_a_git_that_hangs_or_is_missing_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **keywords: object) -> None:
        raise subprocess.TimeoutExpired("git", float(str(keywords["timeout"])))

    monkeypatch.setattr(subprocess, "run", hang)
    assert git_state(tmp_path, timeout_s=0.1) == {}
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {}


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
