"""The advisory lock of a run folder: one compactor, one writer of what is derived."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".compact.lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[bool]:
    """Hold `.compact.lock` of a run folder; yields False when somebody else holds it.

    Losing is harmless: what the holder makes is the same. Where the system has no flock, the rule
    that equal ranges have one live name does the rest.

    Raises:
        OSError: the folder is gone or cannot be written.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
