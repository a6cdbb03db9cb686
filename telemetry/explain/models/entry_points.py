"""Entry points `package.module:name`: code of the user that builds a model or a data set.

Only `import_module` and `getattr`; nothing is evaluated. Importing runs the user's code, so whoever
calls this has asked whether the name may be trusted. What Python itself brings is refused even
then: `shutil:rmtree` builds no model, whatever its arguments.
"""

import difflib
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType

from telemetry.errors import UsageError

MOST_NAMES = 8  # of a hint

_ENTRY = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


@contextmanager
def application_path(folder: Path) -> Iterator[None]:
    """A block in which the user's modules are found in a folder first.

    Raises:
        UsageError: it is no folder.
    """
    if not folder.is_dir():
        raise UsageError(f"--app-dir {folder}: no such folder; name the folder with your code.")
    before = list(sys.path)
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path[:] = before


def resolve(entry: str, what: str) -> object:
    """The object that an entry point names.

    Args:
        entry: `package.module:name`.
        what: What it is for, as the errors call it: `model`, `data set`.

    Raises:
        UsageError: malformed, not importable, there is no such name, or it is of Python itself.
    """
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise UsageError(
            f"{what} {entry!r} is not package.module:name; write it like shop.net:build_model."
        )
    module = _imported(match["module"], entry, what)
    try:
        found: object = getattr(module, match["name"])
    except AttributeError as error:
        known = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(match["name"], known, n=MOST_NAMES, cutoff=0.5)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise UsageError(
            f"{what} {entry}: {match['module']} has no {match['name']}{hint}."
        ) from error
    if _is_of_python(found):
        raise UsageError(f"{what} {entry} is part of Python, not your code, so it is not run.")
    return found


def _is_of_python(found: object) -> bool:
    """Whether something is a function or class of the standard library, wherever it was found."""
    if not isinstance(found, FunctionType | BuiltinFunctionType | type):
        return False
    name = found.__module__ or ""
    if name.partition(".")[0] not in sys.stdlib_module_names:
        return False
    place = getattr(sys.modules.get(name), "__file__", None)  # a user's module may be called so
    return place is None or Path(place).is_relative_to(sysconfig.get_path("stdlib"))


def _imported(name: str, entry: str, what: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:  # the user's code may raise anything
        raise UsageError(
            f"{what} {entry}: {name} cannot be imported ({type(error).__name__}: {error}); is "
            "--app-dir the folder that contains it?"
        ) from error
