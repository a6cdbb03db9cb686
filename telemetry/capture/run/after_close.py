"""Starts a detached child process that merges the shards of a closed run and judges it.

Training never loads DuckDB: that happens in an interpreter of its own, and nobody waits for it.
"""

import importlib.util
import logging
import os
import subprocess
import sys

from telemetry.capture.isolation.contained import contained
from telemetry.format.runs import RunRef
from telemetry.format.shards import listed_shards, table_folder

logger = logging.getLogger(__name__)

WAIT_LIMIT_S = 120.0


def start_diagnosis(ref: RunRef) -> None:
    """Start `python -m telemetry.diagnose RUN --close`, unless the run is short or it is off.

    A run of one shard per table is diagnosed by the first query that wants it. The environment
    variable TELEMETRY_COMPACT is `off` (never) or `wait` (and wait for it: for tests and demos).
    """
    with contained(_not_started):
        _start(ref)


def _start(ref: RunRef) -> None:
    mode = os.environ.get("TELEMETRY_COMPACT", "")
    if mode == "off" or (mode != "wait" and is_short(ref)):
        return
    if importlib.util.find_spec("duckdb") is None:
        return
    command = [sys.executable, "-m", "telemetry.diagnose", str(ref.path), "--close"]
    child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if mode == "wait":
        child.wait(WAIT_LIMIT_S)
    else:
        # Nobody waits: without this, the interpreter warns that the child still runs.
        child.returncode = 0


def is_short(ref: RunRef) -> bool:
    """Whether every table of the run's first rank has at most one shard; a removed run has none."""
    return not ref.path.is_dir() or all(
        len(listed_shards(table_folder(ref.path, folder.name, 0))) <= 1
        for folder in ref.path.iterdir()
        if folder.is_dir()
    )


def _not_started(error: Exception) -> None:
    logger.warning("the diagnosis after close could not be started: %s", error)
