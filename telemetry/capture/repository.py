"""The state of the repository that a training was started in."""

import os
import subprocess
from pathlib import Path

from telemetry.json_values import Json

GIT_TIMEOUT_S = 2.0  # close() of a short run waits for it
BRANCH_LIMIT = 200  # characters


def git_state(folder: Path, *, timeout_s: float = GIT_TIMEOUT_S) -> dict[str, Json]:
    """Commit and dirty flag of the repository a folder is in; empty outside of one.

    Starts git, so it belongs on the writer thread.
    """
    command = [
        "git",
        "--no-optional-locks",  # a training beside somebody's commit must not be in its way
        "-c",
        "core.fsmonitor=false",  # or git would start a program that the repository names
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=no",
        "--ignore-submodules",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command,
            cwd=folder,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = headers.get("branch.oid", "")
    if not commit or commit.startswith("("):  # "(initial)": a repository without a commit
        return {}
    state: dict[str, Json] = {
        "git_commit": commit,
        "git_dirty": any(not line.startswith("#") for line in lines),
    }
    branch = headers.get("branch.head", "")
    return state if branch in {"", "(detached)"} else {**state, "git_branch": branch[:BRANCH_LIMIT]}
