"""How much memory DuckDB may take, and where it may put what does not fit."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

MIB = 1024**2
GIB = 1024**3
# Of what the machine or its control group has: a training and its data loaders run beside the one
# who reads, and lose more by a lack of memory than a reader does, who can spill.
MEMORY_SHARE = 0.25
SPILL_BYTES = 4 * GIB
CONTROL_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def shared_memory_bytes() -> int:
    """The share of the memory that one reader may take."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError):  # no control group, or no limit in it
        limits.append(int(CONTROL_GROUP_LIMIT.read_text("ascii")))
    return int(MEMORY_SHARE * min(limits))


def size_text(n_bytes: int) -> str:
    """Bytes for people: `1.5 GiB`, `191 MiB`."""
    return f"{n_bytes / GIB:.3g} GiB" if n_bytes >= GIB else f"{n_bytes / MIB:.3g} MiB"


def new_spill_folder() -> Path:
    """A name that nobody can guess: DuckDB makes the folder when it spills, and removes it."""
    return Path(tempfile.gettempdir()) / f"telemetry-session-{secrets.token_hex(8)}"
