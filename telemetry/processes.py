"""Processes: what tells one from every other, and whether it still lives."""

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

GONE_STATES = frozenset("ZXx")  # a zombie writes nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process, distinguishable from any of another boot, container or time.

    Attributes:
        host: Name of the host.
        boot_id: See `boot_id()`.
        pid: Number of the process there.
        process_start: Clock ticks since boot when it started; 0 where that cannot be told.
    """

    host: str
    boot_id: str
    pid: int
    process_start: int


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    pid = os.getpid()
    return ProcessIdentity(
        host=host_name(), boot_id=boot_id(), pid=pid, process_start=process_start(pid)
    )


def ending(code: int | None) -> str:
    """How a process ended, in words that follow its name.

    Args:
        code: Its exit code, that of the signal negative; None where it is not known.
    """
    if code is None or code >= 0:
        return f"ended with exit code {'?' if code is None else code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (
        (", perhaps because memory ran out") if name == "SIGKILL" else ""
    )


def is_running(process: ProcessIdentity) -> bool | None:
    """Whether a process lives; None where that cannot be looked up from here."""
    if process.host != host_name() or process.boot_id != boot_id():
        return None
    if process.process_start:
        return process_start(process.pid) == process.process_start
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def host_name() -> str:
    """Name of this host."""
    return socket.gethostname()


def boot_id() -> str:
    """Which boot of the kernel and which process namespace; '' where the system has none.

    Containers of one host share its boot, and some share its name, but their process numbers
    mean different processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""
    return f"{boot} {namespace}"


def process_start(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 if it is gone or cannot be told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return 0 if fields[0] in GONE_STATES else int(fields[19])
