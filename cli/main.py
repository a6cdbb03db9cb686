"""The command `telemetry`: it finds the verb, runs it, and makes exit codes of errors."""

import gc
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import TextIO

import click
from click.shell_completion import CompletionItem, shell_complete

from telemetry.cli.options import common_options, default_settings, settings_of, unknown_verb
from telemetry.cli.output import render
from telemetry.cli.verbs import COMMANDS, grouped, module_of, modules, verb_files
from telemetry.errors import TelemetryError

PROGRAM = "telemetry"
HOME = "telemetry.cli.home"  # imported when no verb is given
COMPLETION_VARIABLE = "_TELEMETRY_COMPLETE"
EXIT_ERROR = 2
GARBAGE_AFTER = 50_000  # new objects; Python's own limit is 700
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + 13  # SIGPIPE, as the shell reports a filter that lost its reader
EPILOG = """\b
RUN: id prefix, short id, name, latest, latest~1 or project/name.
Exit codes: 0 clean, 1 findings or a regression, 2 an error, 3 inconclusive."""


class Verbs(click.Group):
    """The files of `commands/`, each imported only when its verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, sorted."""
        del ctx
        return sorted(modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one verb; None for a verb that has no file."""
        del ctx
        module = module_of(cmd_name)
        if module is None:
            return None
        found = import_module(f"{COMMANDS}.{module}").command
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest verbs where there is none of that name."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown_verb(args[0], modules(), ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Verbs and options that begin with what was typed; no verb is imported for it."""
        verbs = [
            CompletionItem(name, help=file.short_help)
            for name, file in verb_files().items()
            if name.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Verbs with the first lines of their docstrings, below the titles of their groups."""
        del ctx
        width = max(map(len, modules()))
        for title, files in grouped().items():
            with formatter.section(title):
                rows = [(f"{name:<{width}}", file.short_help) for name, file in files.items()]
                formatter.write_dl(rows)


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if not value or context.resilient_parsing:
        return
    from telemetry.cli.versions import version_text  # noqa: PLC0415 - reads package metadata

    render.write(version_text())
    context.exit()


def _show_home(context: click.Context) -> None:
    """What there is to see, where no verb was given."""
    if context.invoked_subcommand is None:
        import_module(HOME).show_home(settings_of(context))


def group() -> Verbs:
    """The command group."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        help="Show the versions of telemetry, its libraries and its tables.",
    )
    return Verbs(
        PROGRAM,
        invoke_without_command=True,
        callback=click.pass_context(_show_home),
        help="Flight recorder and doctor of PyTorch training runs; alone it shows the latest ones.",
        params=[*common_options(), version],
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(arguments: Sequence[str], interrupts: Sequence[int] = ()) -> int:
    """Runs one command line and returns its exit code; every error becomes one line on stderr.

    Args:
        arguments: Words after `telemetry`; none show what there is to see.
        interrupts: Grows with each Ctrl-C: DuckDB turns it into an error of its own.
    """
    try:
        code = _invoke(list(arguments))
        sys.stdout.flush()
    except (click.Abort, EOFError, KeyboardInterrupt) as error:
        return _aborted(by_user=KeyboardInterrupt in {type(error), type(error.__context__)})
    except BrokenPipeError:
        return _lost_reader()
    except Exception as error:  # noqa: BLE001 - the last resort: exit 1 would mean findings
        if interrupts:
            return _aborted(by_user=True)
        if "--debug" in arguments:
            traceback.print_exception(error)
        return _report(error)
    return code


def _invoke(arguments: list[str]) -> int:
    # Not Group.main: it turns a broken pipe into exit code 1, which means findings.
    command = group()
    try:
        with command.make_context(PROGRAM, arguments, obj=default_settings()) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0


def _aborted(*, by_user: bool) -> int:
    render.complain("interrupted." if by_user else "aborted; nothing was changed.", "")
    return EXIT_INTERRUPTED if by_user else EXIT_ERROR


def _lost_reader() -> int:
    # What is still buffered would raise again while the interpreter exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE


def _report(error: Exception) -> int:
    if isinstance(error, TelemetryError):
        render.complain(str(error), "")
        return error.exit_code
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"try: {context.command_path} --help" if context else ""
        render.complain(error.format_message(), hint)
        return EXIT_ERROR
    first_line = (str(error).splitlines() or ["no message"])[0]
    hint = "this is a bug in telemetry; --debug shows where"
    render.complain(f"{type(error).__name__}: {first_line}", hint)
    return EXIT_ERROR


def _count_interrupts() -> list[int]:
    """A list that grows with each Ctrl-C, which goes on as KeyboardInterrupt."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # nohup and shells in the background
        signal.signal(signal.SIGINT, handler)
    return seen


def complete() -> int | None:
    """Answers a shell that asks for completions; None when none asks."""
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if not instruction:
        return None
    return shell_complete(
        group(), {"obj": default_settings()}, PROGRAM, COMPLETION_VARIABLE, instruction
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of Python in the form of ours: whoever reads it has no use for a line of code."""
    del category, filename, lineno, file, line
    render.warn(str(message))


def main() -> None:
    """Entry point of the installed script."""
    # What a command reads it keeps to its end: of a sweep of 2,000 runs, a seventh of the time went
    # into looking for garbage, 348 times.
    gc.set_threshold(GARBAGE_AFTER)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names no encoding can write
    warnings.showwarning = _show_warning
    if "--debug" in sys.argv:
        warnings.filterwarnings("error", "the rule ", RuntimeWarning)  # its traceback
    code = complete()
    sys.exit(run(sys.argv[1:], _count_interrupts()) if code is None else code)
