import os
import signal
import sys
from pathlib import Path

import pytest

from telemetry.capture.live.child import NICENESS, Child, Ended


def python(program: str) -> Child:
    return Child([sys.executable, "-c", program], dict(os.environ))


def ended(child: Child) -> Ended:
    child.wait()
    found = child.poll()
    assert found is not None
    return found


def test_a_child_tells_its_exit_code_and_what_it_took() -> None:
    found = ended(python("sum(range(10**6)); raise SystemExit(3)"))
    assert found.code == 3
    assert found.cpu_s is not None
    assert found.cpu_s > 0


def test_a_killed_child_is_over_at_once() -> None:
    child = python("import time; time.sleep(60)")
    assert child.poll() is None
    child.kill()
    found = child.poll()
    assert found is not None
    assert found.code == -signal.SIGKILL
    child.kill()  # harmless


def test_it_gives_way_and_is_out_of_the_reach_of_ctrl_c(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    # Its niceness is set when it has begun: it reads it as soon as it is that of another process.
    program = (
        "import os, pathlib\n"
        "while os.getpriority(os.PRIO_PROCESS, 0) == {nice}: pass\n"
        "text = f'{{os.getpriority(os.PRIO_PROCESS, 0)}} {{os.getpgid(0) == os.getpid()}}'\n"
        "pathlib.Path({path!r}).write_text(text)"
    )
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if own >= NICENESS:
        pytest.skip("these tests are as nice as the child")
    assert ended(python(program.format(nice=own, path=str(answer)))).code == 0
    assert answer.read_text() == f"{NICENESS} True"


def test_it_has_nothing_to_say() -> None:
    program = (
        "import os, sys; print('x'); print('x', file=sys.stderr)\n"
        "raise SystemExit(not all(os.path.samestat(os.fstat(fd), os.stat(os.devnull))"
        " for fd in range(3)))"
    )
    assert ended(python(program)).code == 0


def test_somebody_else_may_have_asked_how_it_ended() -> None:
    child = python("")
    os.waitpid(child._pid, 0)
    assert ended(child) == Ended(code=None, cpu_s=None)


def test_what_cannot_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="No such file"):
        Child(["/nowhere/python"], {})
