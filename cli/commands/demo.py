"""Train nineteen small networks, and diagnose the one that does not learn.

It trains on handwritten digits for about a minute: a healthy convnet with three seeds, the same
with a regression, a deep sigmoid network that does not learn, and a sweep of learning rate and
width. Commands that show the others are printed at the end. Without --store, the runs are stored in
a new temporary folder, whose name is shown.

Examples:
    telemetry demo
    telemetry demo --store ./demo-runs
"""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import click
from click.core import ParameterSource

from telemetry.cli import main
from telemetry.cli.cached_diagnosis import judge_all
from telemetry.cli.options import settings_of, verb
from telemetry.cli.output import render
from telemetry.errors import StoreUnreadable, TelemetryError, UsageError
from telemetry.format.runs import SHORT_ID_LENGTH
from telemetry.json_values import Json
from telemetry.store.store import Store

if TYPE_CHECKING:
    from rich.progress import Progress

GROUP = "Data"
PACKAGES = ("torch", "sklearn")
INSTALL = "pip install 'training-telemetry[demo]'"
CHILD = (sys.executable, "-P", "-m", "telemetry.capture.demo")
# Variables that would record the runs elsewhere, under one id, or not at all.
DROPPED_VARIABLES = ("TELEMETRY_DISABLED", "TELEMETRY_RUN_ID", "TELEMETRY_SPOOL")
# One process judges all runs at the end: one for each run would take longer than its training. One
# thread: beside other work, threads of so small a network mostly wait for each other.
CHILD_VARIABLES = {"TELEMETRY_COMPACT": "off", "OMP_NUM_THREADS": "1"}
FAULTY_TAG = "faulty"
NEXT = (
    "runs",
    "diff --base tag=main --candidate tag=pr-12",
    "sweep --project demo-sweep --metric val_loss",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A finished run as the child reports it."""

    run: str
    name: str
    project: str
    tags: tuple[str, ...]


class Progressing(Protocol):
    """Something that shows how far the training is."""

    def begin(self, n_steps: int) -> None:
        """The plan is known."""
        ...

    def advance(self, n_steps: int, name: str) -> None:
        """So many steps of the run of that name were done."""
        ...


class Silent:
    """No progress: stderr is not a terminal."""

    def begin(self, n_steps: int) -> None:
        """Nothing."""

    def advance(self, n_steps: int, name: str) -> None:
        """Nothing."""


class Bar:
    """A bar on a terminal, by rich."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task = progress.add_task("loading torch", total=None)

    def begin(self, n_steps: int) -> None:
        """The bar gets its length."""
        self._progress.update(self._task, total=n_steps)

    def advance(self, n_steps: int, name: str) -> None:
        """The bar moves and names the run."""
        self._progress.update(self._task, advance=n_steps, description=name)


@verb(__name__, __doc__)
@click.pass_context
def command(context: click.Context) -> int:
    """Train in a child process, judge what it recorded, and show what is wrong with one run."""
    _require_packages()
    settings = settings_of(context)
    store = settings.store if _store_was_given(context) else None
    screen = render.open_screen(settings)
    folder = _make_folder(store)
    with _progress(color=settings.color) as progress:
        runs = _train(folder, progress)
    if screen.wants_json:
        screen.json({"store": str(folder), "runs": [_as_json(run) for run in runs]})
        return 0
    store_of_demo = Store.expected(folder)
    judge_all(store_of_demo, store_of_demo.runs())
    screen.line(f"{len(runs)} runs in {folder}")
    flags = [] if settings.color else ["--no-color"]
    for run in (run.run for run in runs if FAULTY_TAG in run.tags):
        arguments = ["diagnose", run[-SHORT_ID_LENGTH:], "--store", str(folder)]
        screen.line("")
        screen.line(f"$ {main.PROGRAM} {shlex.join(arguments)}")
        main.run([*arguments, *flags])
    _show_next(screen, folder)
    return 0


def _show_next(screen: render.Screen, folder: Path) -> None:
    """Commands to try, none of which is run here: the diagnosis must stay in view."""
    screen.line("")
    screen.line("Now try:")
    screen.verbatim(f"$ export TELEMETRY_STORE={shlex.quote(str(folder.absolute()))}")
    for command_line in NEXT:
        screen.verbatim(f"$ {main.PROGRAM} {command_line}")


def _require_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"demo needs {' and '.join(missing)}, which is not installed; {INSTALL}")


def _store_was_given(context: click.Context) -> bool:
    """Whether --store was typed; the demo never writes into the store of real runs by default."""
    step: click.Context | None = context
    while step is not None:
        if step.get_parameter_source("store") is ParameterSource.COMMANDLINE:
            return True
        step = step.parent
    return False


def _make_folder(store: Path | None) -> Path:
    if store is None:
        return Path(tempfile.mkdtemp(prefix="telemetry-demo-"))
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreadable(
            f"{store}: the folder cannot be created ({error.strerror})."
        ) from error
    return store


def _train(store: Path, progress: Progressing) -> list[TrainedRun]:
    """Run the child to its end and collect the runs that it reports.

    Raises:
        TelemetryError: the child ended before its work was done.
    """
    command_line = [*CHILD, "--store", str(store), "--json-progress"]
    environment = {k: v for k, v in os.environ.items() if k not in DROPPED_VARIABLES}
    environment |= CHILD_VARIABLES
    runs: list[TrainedRun] = []
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as messages,
        _child(command_line, environment, messages) as child,
    ):
        for line in child.stdout or ():
            event = json.loads(line)
            if event["event"] == "plan":
                progress.begin(event["steps"])
            elif event["event"] == "steps":
                progress.advance(event["done"], event["name"])
            else:
                runs.append(_trained_run(event))
        if child.wait() != 0:
            messages.seek(0)
            last = (messages.read().strip().splitlines() or ["no message"])[-1]
            raise TelemetryError(
                f"the training process ended with exit code {child.returncode}: {last}; "
                f"to see all of it: {shlex.join(command_line[:-1])}"
            )
    return runs


@contextmanager
def _child(
    command_line: list[str], environment: Mapping[str, str], messages: IO[str]
) -> Iterator[subprocess.Popen[str]]:
    """The training process; it never outlives the command, not even after Ctrl-C."""
    child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        command_line,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


def _trained_run(event: Mapping[str, Json]) -> TrainedRun:
    tags = event["tags"]
    return TrainedRun(
        run=str(event["run"]),
        name=str(event["name"]),
        project=str(event["project"]),
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
    )


def _as_json(run: TrainedRun) -> dict[str, Json]:
    return {"run": run.run, "name": run.name, "project": run.project, "tags": list(run.tags)}


def _progress(*, color: bool) -> AbstractContextManager[Progressing]:
    return _bar(color=color) if sys.stderr.isatty() else nullcontext(Silent())


@contextmanager
def _bar(*, color: bool) -> Iterator[Bar]:
    from rich import console, progress  # noqa: PLC0415 - rich costs 0.1 s

    columns = (
        progress.TextColumn("{task.description:<20}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("steps"),
        progress.TimeElapsedColumn(),
    )
    stderr = console.Console(stderr=True, no_color=not color)
    with progress.Progress(*columns, console=stderr, transient=True) as bar:
        yield Bar(bar)
