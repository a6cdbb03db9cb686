"""Connections for what a user typed: they can open no file at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from telemetry.store import sql
from telemetry.store.session import thread_count

GIB = 1024**3
DEFAULT_MEMORY_BYTES = 2 * GIB
MEMORY_SHARE = 0.25  # of what the machine or its control group has
SPILL_BYTES = 4 * GIB

LOCK = """
SET TimeZone = 'UTC';
SET python_enable_replacements = false;
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET allow_community_extensions = false;
SET allow_persistent_secrets = false;
SET allowed_directories = [];
SET enable_external_access = false;
SET lock_configuration = true;
"""


def default_memory_bytes() -> int:
    """2 GiB, or a quarter of the memory where that is less."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [pages]
    with suppress(OSError, ValueError):  # no control group, or no limit in it
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    return min(DEFAULT_MEMORY_BYTES, int(MEMORY_SHARE * min(limits)))


@contextmanager
def locked_connection(memory_bytes: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can open no file but those of its own empty folder, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="telemetry-query-") as spill:
        connection = duckdb.connect(":memory:")
        try:
            connection.execute(
                f"SET threads = {thread_count():d}; SET memory_limit = '{memory_bytes:d}B'; "
                f"SET temp_directory = {sql.quoted(spill)}; "
                f"SET max_temp_directory_size = '{SPILL_BYTES:d}B'; {LOCK}"
            )
            yield connection
        finally:
            connection.close()
