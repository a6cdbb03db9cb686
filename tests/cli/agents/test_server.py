"""A call runs in a process of its own, which ends with it."""

import os
import sys
from pathlib import Path

import anyio

from telemetry.cli.agents.server import ask

ENDLESS = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))"


def test_a_call_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = (sys.executable, "-S", "-c", f"{ENDLESS}; signal.pause()", str(note))

    async def run() -> int:
        async with anyio.create_task_group() as calls:
            calls.start_soon(ask, command)
            with anyio.fail_after(60):
                while not note.exists() or not note.read_text("ascii"):
                    await anyio.lowlevel.checkpoint()
            calls.cancel_scope.cancel()
        return int(note.read_text("ascii"))

    number = anyio.run(run)
    assert not Path(f"/proc/{number}").exists() or os.waitpid(number, os.WNOHANG)
