"""Record a training script without changing it.

The script runs as with `python script.py arguments`, with the same output, exit code and
traceback; everything after its name is passed to it. Its arguments with their defaults become the
config of the run, and what it logs to TensorBoard or W&B its metrics.

Examples:
  telemetry record train.py --lr 0.1
  telemetry record --project digits --tag baseline train.py
  telemetry record --every 10 --store ./runs -m my_package.train
  telemetry record --metrics-from-stdout train.py
  telemetry record --try train.py
"""

import ast
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, default_settings, verb
from telemetry.cli.output.render import open_screen
from telemetry.configuration import STORE_VARIABLE
from telemetry.errors import UsageError
from telemetry.format.regular_files import read_regular
from telemetry.processes import ending, process_start
from telemetry.requests.record import (
    AUTO_VARIABLE,
    START_FILE,
    RecordRequest,
    start_file_is_installed,
)

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run

GROUP = "Data"
SIGNALLED = 128  # plus the number of the signal: the exit code that shells give
SCRIPT_BYTES = 64 * 1024 * 1024  # largest
PYTHON_SUFFIXES = (".py", ".pyw", ".pyc")


@verb(__name__, __doc__)
@click.option("-m", "as_module", is_flag=True, help="Run a module instead of a script file.")
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Sample every N-th step.")
@click.option("--project", metavar="NAME", default="default", help="Project that groups the runs.")
@click.option("--name", metavar="NAME", help="Name of the run (default: the script's name).")
@click.option(
    "--tag", "tags", metavar="TAG", multiple=True, help="Tag for the run; can be repeated."
)
@click.option(
    "--total-steps", type=click.IntRange(min=1), metavar="N", help="Number of planned steps."
)
@click.option(
    "--metrics-from-stdout",
    is_flag=True,
    help="Record numbers that the script prints as `name=value` or `name: value` as metrics.",
)
@click.option(
    "--try",
    "tries",
    is_flag=True,
    help="Then diagnose the run, and try the remedies of its causes as `telemetry try` does.",
)
@click.argument("words", metavar="SCRIPT [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    as_module: bool,
    every: int | None,
    project: str,
    name: str | None,
    tags: tuple[str, ...],
    total_steps: int | None,
    metrics_from_stdout: bool,
    tries: bool,
    words: tuple[str, ...],
) -> int:
    """Become the script's Python process, told by a variable to record."""
    if not words:
        raise UsageError("no script was given; name a script, or use -m and a module.")
    (_check_module if as_module else _check_script)(words[0])
    if not start_file_is_installed():
        raise UsageError(f"{START_FILE} is not installed; run `pip install` of telemetry again.")
    request = RecordRequest(
        every=every,
        project=project,
        name=name,
        tags=tags,
        total_steps=total_steps,
        metrics_from_stdout=metrics_from_stdout,
        asked=True,
        names_store=settings.store.absolute() != default_settings().store.absolute(),
    )
    environment = {
        **os.environ,
        STORE_VARIABLE: str(settings.store.absolute()),
        AUTO_VARIABLE: request.to_variable(),
    }
    command_line = [sys.executable, *(["-m"] if as_module else []), *words]
    if tries:
        return _record_and_try(settings, command_line, environment)
    return _become(command_line, environment)


command.allow_interspersed_args = False  # the script's options are its own


def _check_script(script: str) -> None:
    path = Path(script)
    if path.is_dir():
        raise UsageError(f"{script} is a folder; name a script in it, or use -m and a package.")
    try:
        source = read_regular(path, limit_bytes=SCRIPT_BYTES)
    except OSError as error:
        raise UsageError(f"{script}: cannot be read ({error.strerror}).") from error
    if path.suffix in PYTHON_SUFFIXES:
        return
    try:
        ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{script} is not a Python file.") from error


def _check_module(name: str) -> None:
    top = name.partition(".")[0]
    if find_spec(top) is None and PathFinder.find_spec(top, [str(Path.cwd())]) is None:
        raise UsageError(f"there is no module {top} to run.")


def _record_and_try(
    settings: Settings, command_line: list[str], environment: dict[str, str]
) -> int:
    """Run the script as a child, then diagnose and try; a script that fails gives its own code."""
    from telemetry.cli.experiments import diagnosed_and_tried  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    if screen.wants_json:
        raise UsageError(
            "--try shows its results after the script's own output, so --json cannot be used; run "
            "`telemetry try latest --yes --json` afterwards."
        )
    sys.stdout.flush()
    sys.stderr.flush()
    with subprocess.Popen(command_line, env=environment) as child:  # noqa: S603 - the user's script
        started = process_start(child.pid)
        code = child.wait()
    if code:
        screen.warn(f"the script {ending(code)}, so nothing was tried.")
        return code if code > 0 else SIGNALLED - code
    store = telemetry.Store.open(settings.store)
    # A replay treats the first training of a process.
    first = next((run for run in reversed(store.runs()) if _is_of(run, child.pid, started)), None)
    if first is None:
        raise UsageError("the script recorded no run, so nothing can be tried.")
    return diagnosed_and_tried(screen, store, first)


def _is_of(run: "Run", pid: int, started: int) -> bool:
    """Whether a process recorded a run; numbers of processes come again, with another start."""
    attempts = () if run.manifest is None else run.manifest.attempts
    return any((one.pid, one.process_start) == (pid, started) for one in attempts)


def _become(command_line: list[str], environment: dict[str, str]) -> int:
    """Replace this process; where the system cannot, run a child and return its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(command_line[0], command_line, environment)  # noqa: S606 - the user's script
    return subprocess.call(command_line, env=environment)  # noqa: S603 - as above
