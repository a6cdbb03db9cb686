import dataclasses
import os
import subprocess
import sys

import pytest

from telemetry import processes
from telemetry.processes import (
    boot_id,
    ending,
    host_name,
    is_running,
    process_start,
    this_process,
)

STDIN_READER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def identity_of(pid: int) -> processes.ProcessIdentity:
    return dataclasses.replace(this_process(), pid=pid, process_start=process_start(pid))


def test_this_process_runs() -> None:
    own = this_process()
    assert own.pid == os.getpid()
    assert own.host == host_name()
    assert is_running(own) is True


def test_a_killed_process_is_gone_even_before_its_parent_has_noticed() -> None:
    with subprocess.Popen(STDIN_READER, stdin=subprocess.PIPE) as child:
        other = identity_of(child.pid)
        assert is_running(other) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        assert is_running(other) is False
    assert is_running(other) is False


def test_a_process_number_that_was_given_again_is_another_process() -> None:
    own = this_process()
    assert is_running(dataclasses.replace(own, process_start=own.process_start + 1)) is False


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot_id": "earlier pid:[1]"}])
def test_of_another_host_boot_or_container_nothing_can_be_said(change: dict[str, str]) -> None:
    assert is_running(dataclasses.replace(this_process(), **change)) is None


def test_without_start_times_the_number_decides() -> None:
    own = dataclasses.replace(this_process(), process_start=0)
    assert is_running(own) is True
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
        assert is_running(dataclasses.replace(own, pid=child.pid)) is False


@pytest.mark.parametrize("error", [PermissionError, OverflowError])
def test_a_process_of_somebody_else_runs(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(dataclasses.replace(this_process(), process_start=0)) is True


def test_a_system_without_proc_has_empty_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __init__(self, path: str) -> None:
            self.path = path

        def read_text(self, *_args: str, **_keywords: str) -> str:
            raise FileNotFoundError(self.path)

    monkeypatch.setattr(processes, "Path", Nowhere)
    assert boot_id() == ""
    assert process_start(os.getpid()) == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (7, "ended with exit code 7"),
        (None, "ended with exit code ?"),
        (-9, "was killed by SIGKILL, perhaps because memory ran out"),
        (-11, "was killed by SIGSEGV"),
        (-999, "was killed by signal 999"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int | None, words: str) -> None:
    assert ending(code) == words
