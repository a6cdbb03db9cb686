"""What every verb shares: its class, the common options, and the run argument with completion.

The common options work before and after the verb: each writes itself into the `Settings` of its
context, so that the later one wins.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ParamSpec

import click

from telemetry.configuration import STORE_VARIABLE, nearest, store_folder
from telemetry.errors import TelemetryError
from telemetry.format.runs import DEFAULT_STORE, local_folder
from telemetry.safe_text import clean

EXAMPLES_HEADING = "Examples:"
Value = str | bool | None
P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The common options; `color` is off wherever a terminal or a user refuses it."""

    given_store: Path | None = None
    output_json: bool = False
    output_markdown: bool = False
    color: bool = True
    wide: bool = False
    debug: bool = False

    @property
    def store(self) -> Path:
        """Folder of the runs: the option, else the environment, the settings file, the default."""
        return self.given_store or store_folder()


def default_settings() -> Settings:
    """Settings from the environment alone."""
    return Settings(
        color=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
    )


def settings_of(context: click.Context) -> Settings:
    """The settings as known so far."""
    found = context.obj
    return found if isinstance(found, Settings) else default_settings()


def _with_store(settings: Settings, value: Value) -> Settings:
    return replace(settings, given_store=local_folder(str(value)))


def _with_json(settings: Settings, _value: Value) -> Settings:
    return replace(settings, output_json=True)


def _with_markdown(settings: Settings, _value: Value) -> Settings:
    return replace(settings, output_markdown=True)


def _without_color(settings: Settings, _value: Value) -> Settings:
    return replace(settings, color=False)


def _with_width(settings: Settings, _value: Value) -> Settings:
    return replace(settings, wide=True)


def _with_debug(settings: Settings, _value: Value) -> Settings:
    return replace(settings, debug=True)


def _remember(
    change: Callable[[Settings, Value], Settings],
) -> Callable[[click.Context, click.Parameter, Value], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Value) -> None:
        if value:
            context.obj = change(settings_of(context), value)

    return callback


def common_options() -> list[click.Parameter]:
    """Fresh instances of the common options, for one command."""
    store = click.Option(
        ["--store"],
        metavar="DIR",
        type=click.Path(),
        help=f"Folder of the runs (default: ${STORE_VARIABLE}, `store` of telemetry.toml, or "
        f"./{DEFAULT_STORE}).",
        expose_value=False,
        callback=_remember(_with_store),
    )
    flags = (
        ("--json", _with_json, "Print one JSON object instead of the screen."),
        ("--no-color", _without_color, "Print without colour, as with $NO_COLOR."),
        ("--wide", _with_width, "Use the whole width of the terminal."),
        ("--debug", _with_debug, "Show the traceback of an error."),
    )
    return [
        store,
        *(
            click.Option(
                [name], is_flag=True, help=text, expose_value=False, callback=_remember(change)
            )
            for name, change, text in flags
        ),
    ]


def markdown_option(body: Callable[P, int | None]) -> Callable[P, int | None]:
    """`--markdown`, or `--md`, for verbs whose result belongs into a comment or a report."""
    option = click.option(
        "--markdown",
        "--md",
        is_flag=True,
        help="Print Markdown for a pull request instead of the screen.",
        expose_value=False,
        callback=_remember(_with_markdown),
    )
    return option(body)


class Verb(click.Command):
    """A command whose help is the docstring of its module, with the common options added."""

    def __init__(self, name: str | None, *, doc: str, params: list[click.Parameter]) -> None:
        sentence, _, examples = inspect.cleandoc(doc).partition(EXAMPLES_HEADING)
        self.examples = tuple(line.strip() for line in examples.splitlines() if line.strip())
        super().__init__(
            name,
            help=sentence.strip(),
            params=[*params, *common_options()],
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sentence, then the examples as they are typed."""
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write("".join(f"  {example}\n" for example in self.examples))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, those of every verb under a title of their own."""
        names = {parameter.name for parameter in common_options()}
        help_option = self.get_help_option(ctx)
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue  # the usage line and the sentence say what it is
            record = parameter.get_help_record(ctx)
            shared = parameter.name in names or parameter is help_option
            if record is not None:
                (common if shared else own).append(record)
        for title, rows in (("Options", own), ("Common options", common)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


MISTYPED = 0.75  # likeness from which a word is a part with a slip: 0.8 of inptu and input


class VerbGroup(Verb, click.Group):
    """A verb of several parts, each a verb of its own: `telemetry hypotheses compare`."""

    usual: str | None = None  # part that a first word which is no part belongs to

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a word the help; one word that is no part: the usual one."""
        if self.usual and self._is_about(args):
            args = [self.usual, *args]
        return super().parse_args(ctx, args or ["--help"])

    def _is_about(self, args: Sequence[str]) -> bool:
        """Whether words say what the usual part is about, and are no part that is mistyped."""
        is_alone = len(args) == 1 or (len(args) > 1 and args[1].startswith("-"))
        if not is_alone or args[0] in self.commands or args[0].startswith("-"):
            return False
        return not difflib.get_close_matches(args[0], self.commands, n=1, cutoff=MISTYPED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest parts where there is none of that name."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown_verb(args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The parts, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Parts with their first sentences, whole."""
        del ctx
        rows = [
            (name, (part.help or "").partition("\n")[0].rstrip("."))
            for name, part in sorted(self.commands.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def part(self, name: str) -> Callable[[Callable[P, int | None]], Verb]:
        """Turns a function into the part of that name; its docstring is the help."""

        def decorate(body: Callable[P, int | None]) -> Verb:
            command = _command(name, body.__doc__, body)
            self.add_command(command)
            return command

        return decorate


def unknown_verb(name: str, known: Iterable[str], context: click.Context) -> click.UsageError:
    """The error for a word that is no verb, with those that are near."""
    hint = nearest(name, sorted(known))
    return click.UsageError(f"there is no command {name!r}; {hint}", context)


def verb_group(module: str, doc: str | None) -> VerbGroup:
    """The command of a module whose verb has parts; arguments as those of `verb`."""
    return VerbGroup(verb_name(module), doc=doc or "", params=[])


def verb(module: str, doc: str | None) -> Callable[[Callable[P, int | None]], Verb]:
    """Turns the function of a command's module into its click command.

    Args:
        module: `__name__` of the module; its last part names the verb.
        doc: `__doc__` of the module: a sentence, perhaps more, then `Examples:`.
    """
    return partial(_command, verb_name(module), doc)


def _command(name: str, doc: str | None, body: Callable[P, int | None]) -> Verb:
    params: list[click.Parameter] = list(reversed(getattr(body, "__click_params__", [])))
    command = Verb(name, doc=doc or "", params=params)
    command.callback = body
    return command


def verb_name(module: str) -> str:
    """The verb of a module: `import_` is `import`, since `import` cannot name a file."""
    return module.rpartition(".")[2].rstrip("_").replace("_", "-")


def complete_runs(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """For the shell: `latest`, names and short ids that begin with what was typed."""
    from telemetry.store.runs.catalog import list_runs  # noqa: PLC0415 - keeps --help fast

    try:
        runs = list_runs(settings_of(context).store)
    except TelemetryError:  # a settings file that is wrong: the command itself will say so
        return []
    known = [*(["latest"] if runs else []), *(r.name for r in runs), *(r.short for r in runs)]
    usable = [text for text in dict.fromkeys(known) if text == clean(text)]
    return [text for text in usable if text.startswith(incomplete)]
