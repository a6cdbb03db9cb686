"""The state of the repository that a training was started in."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from telemetry.json_values import Json

GIT_TIMEOUT_S = 2.0  # of each call; close() of a short run waits for it
BRANCH_LIMIT = 200  # characters
DIGEST_BYTES = 6
STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules")
# No program that the repository names: neither a viewer of differences nor a converter.
DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules", "HEAD")


def git_state(folder: Path, *, timeout_s: float = GIT_TIMEOUT_S) -> dict[str, Json]:
    """Commit, dirty flag and hash of the changes since the commit; empty outside a repository.

    Starts git, so it belongs on the writer thread. No pipe leads there: a process that training
    forks at that moment, a worker of a data loader, would hold its other end open, and the thread
    would wait for as long as the worker lives.
    """
    status = _git(folder, STATUS, timeout_s)
    if status is None:
        return {}
    lines = status.decode("utf-8", "replace").splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", "")
    if not commit or commit.startswith("("):  # "(initial)": a repository without a commit
        return {}
    is_dirty = any(not line.startswith("#") for line in lines)
    state: dict[str, Json] = {"git_commit": commit, "git_dirty": is_dirty}
    changes = _git(folder, DIFF, timeout_s) if is_dirty else None
    if changes is not None:
        state["git_diff"] = hashlib.blake2b(changes, digest_size=DIGEST_BYTES).hexdigest()
    branch = headers.get("branch.head", "")
    return state if branch in {"", "(detached)"} else {**state, "git_branch": branch[:BRANCH_LIMIT]}


def _git(folder: Path, words: tuple[str, ...], timeout_s: float) -> bytes | None:
    """What git prints; None where it fails, is missing or takes too long."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [
        git,
        "-C",
        str(folder),
        "--no-optional-locks",  # a training beside somebody's commit must not be in its way
        "-c",
        "core.fsmonitor=false",  # or git would start a program that the repository names
        *words,
    ]
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(  # noqa: S603 - fixed words
                command,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=timeout_s,
                check=True,
                close_fds=False,  # else it is started by a fork that reports through a pipe
            )
        except (OSError, subprocess.SubprocessError):
            return None
        output.seek(0)
        return output.read()
