"""A child process of the writer thread: of low priority, without pipes, never waited for."""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NICENESS = 10  # gets a tenth of a core where training wants them all, and a free one otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code, negative for a signal; None where somebody else has asked for it.
        cpu_s: Processor time that it took; None likewise.
    """

    code: int | None
    cpu_s: float | None


class Child:
    """A process that was started; a group of its own, so that Ctrl-C does not reach it.

    No pipe leads to it, and none is needed to start it: a process that training forks at that
    moment, a worker of a data loader, would hold its other end open for as long as it lives.

    Args:
        command: Program, by its path, and arguments.
        environment: Of the process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
        self._pid = os.posix_spawn(
            command[0], list(command), environment, file_actions=nowhere, setpgroup=0
        )
        self._ended: Ended | None = None
        with contextlib.suppress(OSError):  # it has ended already, or the system does not want it
            os.setpriority(os.PRIO_PROCESS, self._pid, NICENESS)

    def poll(self) -> Ended | None:
        """How it ended; None: it runs."""
        return self._asked(os.WNOHANG)

    def wait(self) -> None:
        """Come back when it has ended."""
        self._asked(0)

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self.wait()

    def _asked(self, options: int) -> Ended | None:
        if self._ended is None:
            try:
                pid, status, usage = os.wait4(self._pid, options)
            except ChildProcessError:  # the training waits for any child, or lets the system do it
                self._ended = Ended(code=None, cpu_s=None)
            else:
                if pid:
                    cpu_s = usage.ru_utime + usage.ru_stime
                    code = os.waitstatus_to_exitcode(status)
                    self._ended = Ended(code=code, cpu_s=cpu_s)
        return self._ended
