"""What argparse or click made of the script's command line, defaults included.

Loads nothing of torch: a script reads its arguments before it makes a model.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from telemetry.capture.auto.observed_calls import replace_method, seen_after, seen_before
from telemetry.capture.environment.script_arguments import config_of

if TYPE_CHECKING:
    from argparse import Namespace

PART = "arguments of the script"


class ClickContext(Protocol):
    """What is read of the context of a command of click."""

    @property
    def params(self) -> Mapping[str, object]:
        """The values of its parameters, by name."""
        ...


class CommandLine:
    """The arguments of this process as its parsers see them.

    A parser counts if it reads words of the command line, or none, where only defaults remain; one
    that reads words of another origin does not. Of several the later one wins, so the values of a
    subcommand come after those of its group.
    """

    def __init__(self) -> None:
        self._parsed: dict[str, object] = {}
        self._left_over: list[str] | None = None  # words that no parser took; None: no parser yet

    @property
    def parsed(self) -> Mapping[str, object]:
        """Values of all arguments that a parser knows."""
        return self._parsed

    @property
    def typed(self) -> Mapping[str, object]:
        """What the user typed: as parsed where a parser knows it, else read off the words."""
        words = config_of(sys.argv[1:])
        if self._left_over is None:
            return words
        known = {name: self._parsed[name] for name in words if name in self._parsed}
        return {**config_of(self._left_over), **known}

    def watch_argparse(self, module: ModuleType) -> None:
        """See the results of each parser of argparse; `parse_args` goes through these methods."""
        make = functools.partial(seen_after, see=self._see_result, part=PART)
        for name in ("parse_known_args", "parse_known_intermixed_args"):
            replace_method(module.ArgumentParser, name, make)

    def watch_click(self, module: ModuleType) -> None:
        """See the values of each command of click that is about to run."""
        make = functools.partial(seen_before, see=self._see_command, part=PART)
        replace_method(module.Command, "invoke", make)

    def _see_result(
        self,
        result: "tuple[Namespace, list[str]]",
        parser: object,
        args: Sequence[str] | None = None,
        namespace: object = None,
    ) -> None:
        del parser, namespace
        if args is not None and not set(args) <= set(sys.argv[1:]):
            return
        found, left_over = result
        self._add(vars(found))
        self._left_over = list(left_over)

    def _see_command(self, command: object, context: ClickContext) -> None:
        del command
        self._add(context.params)
        self._left_over = []

    def _add(self, values: Mapping[str, object]) -> None:
        self._parsed.update(
            {name: value for name, value in values.items() if not name.startswith("_")}
        )
