"""Which verbs there are: the files of `commands/`, read with `ast`, so that none is imported.

A file says in its docstring what its verb does, in `GROUP` under which title the help lists it, and
in `FORMER_NAMES`, if it has one, how the verb was called before.
"""

import ast
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from telemetry.cli.options import verb_name

COMMANDS = "telemetry.cli.commands"
GROUPS = ("Look", "Diagnose", "Compare", "Explain", "Data")  # in the order of the help


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbFile:
    """What the file of a verb says of it."""

    module: str
    short_help: str
    group: str
    former_names: tuple[str, ...]


def modules() -> dict[str, str]:
    """Verb to module name."""
    found = pkgutil.iter_modules(_folders())
    return {verb_name(entry.name): entry.name for entry in found}


def verb_files() -> dict[str, VerbFile]:
    """Verb to what its file says, sorted by name."""
    return {verb: _read(module) for verb, module in sorted(modules().items())}


def grouped() -> dict[str, dict[str, VerbFile]]:
    """The verbs below each title of the help."""
    files = verb_files()
    return {
        title: {verb: file for verb, file in files.items() if file.group == title}
        for title in GROUPS
    }


def module_of(name: str) -> str | None:
    """The module of a verb, also by a name that it had before; None if there is none."""
    known = modules()
    if name in known:
        return known[name]
    files = verb_files().values()
    return next((file.module for file in files if name in file.former_names), None)


def _folders() -> Sequence[str]:
    return [*import_module(COMMANDS).__path__]


def _read(module: str) -> VerbFile:
    tree = ast.parse((Path(_folders()[0]) / f"{module}.py").read_text("utf-8"))
    doc = ast.get_docstring(tree) or ""
    constants = _constants(tree)
    names = constants.get("FORMER_NAMES", ())
    return VerbFile(
        module=module,
        short_help=doc.partition("\n")[0].rstrip("."),
        group=str(constants.get("GROUP", "")),
        former_names=tuple(map(str, names)) if isinstance(names, tuple) else (),
    )


def _constants(tree: ast.Module) -> Mapping[str, object]:
    """Constants of a module that are written as literals."""
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in {"GROUP", "FORMER_NAMES"}
    }
