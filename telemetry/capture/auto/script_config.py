"""The configuration of a script that does not pass one: what it was called with and what it holds.

Of a name that several know, the value that the user typed counts, then that of the script's
dataclass, then the default of its parser.
"""

import dataclasses
import functools
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from telemetry.capture.auto.command_line import CommandLine

# Variables that hold the configuration of a script, the likeliest first.
NAMES = (
    *("config", "cfg", "conf", "args", "arguments", "hparams", "hyperparameters"),
    *("settings", "options", "opts", "opt", "params"),
)
PACKAGE = str(Path(__file__).parents[2])


def script_config(command_line: CommandLine) -> dict[str, object]:
    """Values by name, as the script has them now."""
    return {**command_line.parsed, **_dataclass_of_the_script(), **command_line.typed}


def _dataclass_of_the_script() -> Mapping[str, object]:
    """Fields of the dataclass in the outermost variable that is called like a configuration.

    The outermost holds the whole, of which functions further in may get a part.
    """
    for variables in _variables_outermost_first():
        for name in NAMES:
            value = variables.get(name)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return {field.name: getattr(value, field.name, None) for field in _shown(value)}
    return {}


def _shown(value: object) -> list["dataclasses.Field[object]"]:
    fields = dataclasses.fields(value)  # type: ignore[arg-type]
    return [field for field in fields if not field.name.startswith("_")]


def _variables_outermost_first() -> Iterator[Mapping[str, object]]:
    """Those of the script's module, then of its functions that are running."""
    yield vars(sys.modules["__main__"])
    frames: list[FrameType] = []
    frame = inspect.currentframe()
    while frame is not None:
        if not _is_installed(frame.f_code.co_filename):
            frames.append(frame)
        frame = frame.f_back
    for frame in reversed(frames):
        yield _locals_of(frame)


def _locals_of(frame: FrameType) -> Mapping[str, object]:
    """The variables of a frame that may be a configuration.

    Up to Python 3.12 a frame keeps the dictionary that it gives away, and with it every tensor in
    it as long as the function runs; so it is emptied. Its variables are not in it.
    """
    code = frame.f_code
    if not code.co_flags & inspect.CO_OPTIMIZED:  # a module or class: the variables themselves
        return frame.f_locals
    if not set(NAMES) & {*code.co_varnames, *code.co_cellvars, *code.co_freevars}:
        return {}
    variables = frame.f_locals
    chosen = {name: variables[name] for name in NAMES if name in variables}
    if isinstance(variables, dict):
        variables.clear()
    return chosen


@functools.lru_cache
def _folders_of_others() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return (PACKAGE, "<", *(paths[name] for name in names))


def _is_installed(file: str) -> bool:
    """Code of Python, of an installed package or of telemetry, not of the user."""
    return file.startswith(_folders_of_others())
