"""Connections for what a user typed: they can open no file at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from telemetry.store.sessions import sql
from telemetry.store.sessions.memory import GIB, SPILL_BYTES, shared_memory_bytes
from telemetry.store.sessions.session import thread_count

DEFAULT_MEMORY_BYTES = 2 * GIB

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
    return min(DEFAULT_MEMORY_BYTES, shared_memory_bytes())


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
