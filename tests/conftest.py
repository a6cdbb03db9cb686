"""Options and fixtures that every test may use."""

import contextlib
import difflib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fast_subset import fast_subset
from golden_text import is_same_json
from hypothesis import HealthCheck, settings

from telemetry.errors import TelemetryError
from telemetry.format.manifest import Status

# Tests run side by side, one per core: threads of torch would wait for each other. Set before torch
# is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels run in Triton's interpreter, on the CPU; read when triton is imported, by whichever test.
os.environ.setdefault("TRITON_INTERPRET", "1")

# A shell that starts pytest in the background has it ignore interrupts, and its children with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A closed run of several shards per table starts a process that judges and compacts it: it would go
# on beside the tests that follow, and in what they read.
os.environ.setdefault("TELEMETRY_COMPACT", "off")

# A run that ends says so on stderr, where tests look for what else is said.
os.environ.setdefault("TELEMETRY_QUIET", "1")

# Examples are the same in every run, and none fails because the machine was busy.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

GOLDEN = Path(__file__).parent / "golden"
WAIT_S = 60.0
UPDATE_OPTION = "--update-golden"
FAST_OPTION = "--fast"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        UPDATE_OPTION,
        action="store_true",
        help="rewrite the files of tests/golden/ with what the code gives now; review the diff",
    )
    parser.addoption(
        FAST_OPTION,
        action="store_true",
        help="one test of each of three files a folder, where no process is started",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption(FAST_OPTION):
        chosen = fast_subset(items)
        config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
        items[:] = chosen


@pytest.fixture(autouse=True, scope="session")
def _own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that signs runs is no matter of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """What a test writes need not survive a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_git() -> Iterator[None]:
    """Some thousand writers would start it; who wants to know what it says puts it back."""
    loop = sys.modules.get("telemetry.capture.writer.loop")
    with pytest.MonkeyPatch.context() as patch:
        if loop is not None:
            patch.setattr(loop, "git_state", lambda _: {})
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_time_but_our_own() -> Iterator[None]:
    """What telemetry does by the clock is done by the processor time of this process.

    Rows are flushed after a second, samples that are dear become rare, a slow flight recorder
    pauses: what else the machine does must not decide it.
    """
    # It loads torch: only if it is there.
    recording = sys.modules.get("telemetry.capture.run.recording")
    clocks = SimpleNamespace(perf_counter=time.process_time, thread_time=time.thread_time)
    with pytest.MonkeyPatch.context() as patch:
        if recording is not None:
            ours = recording.Clocks(
                wall=time.process_time, processor=time.thread_time, queued=lambda: 0.0
            )
            patch.setitem(recording.Recording.__init__.__kwdefaults__, "clocks", ours)
            patch.setitem(recording.RunWriter.__init__.__kwdefaults__, "clock", time.process_time)
            for name in ("activations.functions", "writer.writer"):
                patch.setattr(sys.modules[f"telemetry.capture.{name}"], "time", clocks)
        yield


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """A callback or writer that a test leaves open would go on in the tests that follow it."""
    yield
    # It loads torch: only if it is there.
    capture = sys.modules.get("telemetry.capture.environment.open_callbacks")
    if capture is not None:
        with contextlib.suppress(TelemetryError):  # of a strict one
            capture.close_all()
        capture._open.clear()  # one whose end failed would be counted as another one for ever
    writer = sys.modules.get("telemetry.capture.writer.writer")
    for left in list(writer._open_writers) if writer is not None else ():
        with contextlib.suppress(TelemetryError):
            left.close(Status.FAILED)
        writer._open_writers.discard(left)  # one whose disk was slower than its test has ended
    threads = [one for one in threading.enumerate() if one.name == "telemetry-writer"]
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads), "a writer goes on after its test"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` holds a text against tests/golden/<name>, or rewrites that file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if path.exists():
            expected = path.read_text("utf-8")
            if expected == text or (path.suffix == ".json" and is_same_json(expected, text)):
                return
        if request.config.getoption(UPDATE_OPTION):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
            return
        if not path.exists():
            pytest.fail(f"tests/golden/{name} is missing; run pytest {UPDATE_OPTION}")
        lines = difflib.unified_diff(
            expected.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm=""
        )
        difference = "\n".join(lines) or "only the ends of lines or of the file differ"
        pytest.fail(f"{difference}\n(intended? run pytest {UPDATE_OPTION})")

    return check
