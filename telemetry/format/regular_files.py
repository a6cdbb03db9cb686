"""Reads small files that somebody else may have put there: regular ones only, and never too much.

A store lies where others can write. A pipe in the place of `run.json` would keep its reader waiting
for ever, and `/dev/zero` would fill the memory: `stat` says that both have no bytes.
"""

import errno
import os
import stat
from pathlib import Path

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
BINARY = getattr(os, "O_BINARY", 0)


def read_regular(path: Path, *, limit_bytes: int) -> bytes:
    """The content of a regular file; links to one are followed.

    Args:
        path: The file.
        limit_bytes: Largest size.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
    """
    content = read_beginning(path, n_bytes=limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    return content


def read_beginning(path: Path, *, n_bytes: int) -> bytes:
    """The first bytes of a regular file, all if it has fewer.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    _check(path, os.stat(path).st_mode)  # noqa: PTH116 - opening some devices does something
    descriptor = os.open(path, os.O_RDONLY | BINARY | WITHOUT_WAITING)
    with os.fdopen(descriptor, "rb") as stream:
        _check(path, os.fstat(descriptor).st_mode)
        return stream.read(n_bytes)


def _check(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
