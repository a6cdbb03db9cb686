"""Git for tests, whatever the user of the machine has configured."""

import os
import subprocess
from pathlib import Path

GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(folder: Path, *words: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", *words],  # noqa: S607 - whichever git the tests' machine has
        cwd=folder,
        env={**os.environ, **GIT_IDENTITY},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.strip()


def committed(folder: Path, **files: str) -> None:
    """Write files `<name>.py` and commit them, in a repository that is made if there is none."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "trunk")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "change")
