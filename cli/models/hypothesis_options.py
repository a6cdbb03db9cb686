"""Options of the verbs whose finding can be kept as a hypothesis."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

FILE = "hypotheses.toml"


def hypothesis_options(meaning: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Adds `--save-hypothesis NAME` and the file that it goes to.

    Args:
        meaning: What is kept; the help of the option.
    """

    def decorate(body: Callable[P, R]) -> Callable[P, R]:
        body = click.option(
            "--file",
            type=click.Path(path_type=Path, dir_okay=False),
            default=FILE,
            show_default=True,
            help="File with hypotheses.",
        )(body)
        return click.option("--save-hypothesis", metavar="NAME", help=meaning)(body)

    return decorate


def check_savable(path: Path, name: str) -> None:
    """Refuse a hypothesis before a model has run for it.

    Args:
        path: Its file.
        name: Its name.

    Raises:
        UsageError: it is no name, the file has it already, or the file is wrong.
    """
    from telemetry.evaluate.hypothesis_testing.file import check_new  # noqa: PLC0415 - keeps --help fast

    check_new(path, name)
