"""Scripts in processes of their own, alone or recorded."""

import os
import subprocess
import sys
from pathlib import Path

RECORD = ("-m", "telemetry", "record")


def started(folder: Path, *command: str, **environment: str) -> "subprocess.Popen[str]":
    """A Python process in a folder, whose store is `store` there."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TELEMETRY_")}
    own = {
        "TELEMETRY_STORE": str(folder / "store"),
        "TELEMETRY_COMPACT": "off",
        "TELEMETRY_QUIET": "1",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**inherited, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = process.communicate("typed", timeout=300)
    return process.returncode, out, err
