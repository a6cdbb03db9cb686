"""Writes the generated pages of `docs/`: `python -m tests.update_docs`; a test fails on drift."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from telemetry.cli import main as cli
from telemetry.store.user_sql.reference import tables_markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
HELP_WIDTH = 88  # columns

CLI_INTRODUCTION = """\
# Command line

The `--help` of every command, written by `python -m tests.update_docs`.

"""


def cli_page() -> str:
    """The help of the group and of each verb."""
    group = cli.group()
    root = _context(group, cli.PROGRAM, None)
    parts = [_section(cli.PROGRAM, group.get_help(root))]
    for verb in group.list_commands(root):
        command = group.get_command(root, verb)
        if command is not None:
            context = _context(command, verb, root)
            parts.append(_section(f"{cli.PROGRAM} {verb}", command.get_help(context)))
            parts += _parts_of(command, context)
    return CLI_INTRODUCTION + "\n".join(parts)


def _parts_of(command: click.Command, context: click.Context) -> list[str]:
    """The help of each part of a verb that has parts."""
    if not isinstance(command, click.Group):
        return []
    return [
        _section(
            f"{cli.PROGRAM} {command.name} {name}",
            part.get_help(_context(part, name, context)),
        )
        for name, part in sorted(command.commands.items())
    ]


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return command.make_context(
        name, [], parent=parent, resilient_parsing=True, terminal_width=HELP_WIDTH
    )


def _section(title: str, help_text: str) -> str:
    lines = "\n".join(line.rstrip() for line in help_text.splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page, "tables.md": tables_markdown}


def main() -> None:
    """Rewrite every page that is out of date and name it."""
    for name, page in PAGES.items():
        path = DOCS / name
        text = page()
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8", newline="\n")
            sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
