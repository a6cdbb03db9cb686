import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
from git_repository import committed, git

from telemetry.capture.environment import repository as repositories

git_state = partial(repositories.git_state, timeout_s=60.0)  # a busy machine is no failure


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    committed(tmp_path, train="lr = 0.1\n")
    return tmp_path


def test_the_commit_and_whether_it_was_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    clean = {"git_commit": commit, "git_dirty": False, "git_branch": "trunk"}
    assert git_state(repository) == clean
    (repository / "notes.txt").write_text("untracked files change no training\n")
    assert git_state(repository) == clean
    (repository / "train.py").write_text("lr = 0.2\n")
    dirty = git_state(repository)
    assert dirty == {**clean, "git_dirty": True, "git_diff": dirty["git_diff"]}
    assert git_state(repository) == dirty
    (repository / "train.py").write_text("lr = 0.3\n")
    assert git_state(repository)["git_diff"] != dirty["git_diff"]


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


def test_no_pipe_that_a_forked_worker_could_hold_open(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pipe() -> tuple[int, int]:
        raise AssertionError("the thread would wait for the worker")

    monkeypatch.setattr(os, "pipe", no_pipe)
    assert set(git_state(repository)) == {"git_commit", "git_dirty", "git_branch"}
