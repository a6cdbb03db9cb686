"""The settings file: `telemetry.toml`, or the table `[tool.telemetry]` of a `pyproject.toml`.

The nearest one from the working folder upward holds alone: files are not merged, and in one folder
`telemetry.toml` wins. What the command line or the environment says goes before it.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from telemetry.errors import UsageError
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import DEFAULT_STORE, local_folder

OWN_FILE, PROJECT_FILE = "telemetry.toml", "pyproject.toml"
STORE_VARIABLE = "TELEMETRY_STORE"
FAIL_ON = ("error", "warning", "never")
SIZE_LIMIT_BYTES = 8 * 1024 * 1024
KEYS = ("store", "fail_on", "detectors", "suppress")

Table: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What one settings file says; without a file, nothing.

    Attributes:
        path: The file; None when there is none.
        table: Its content, of a pyproject.toml that of `[tool.telemetry]`.
    """

    path: Path | None = None
    table: Table = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file, for people."""
        return self.path.name if self.path else "no file"

    @property
    def store(self) -> Path | None:
        """Folder of the runs; a relative one begins at the file's own folder."""
        value = self.table.get("store")
        if value is None or self.path is None:
            return None
        if not isinstance(value, str) or not value:
            raise self.error("store", value, "write the folder of the runs as text")
        try:
            return self.path.parent / local_folder(value).expanduser()
        except UsageError as error:
            remedy = "a store must be a folder; addresses are not supported"
            raise self.error("store", value, remedy) from error
        except RuntimeError as error:  # there is no home
            raise self.error("store", value, "write a folder without ~") from error

    @property
    def fail_on(self) -> str | None:
        """Severity from which `diagnose` fails."""
        value = self.table.get("fail_on")
        if value is not None and value not in FAIL_ON:
            raise self.error("fail_on", value, f"choose {', '.join(FAIL_ON)}")
        return None if value is None else str(value)

    def error(self, key: str, value: object, remedy: str) -> UsageError:
        """One clear error that names file, key, value and what to write instead."""
        return UsageError(f"{self.path}: {self._full(key)} = {written(value)}: {remedy}.")

    def check_keys(self, table: Table, allowed: Iterable[str], *, within: str = "") -> None:
        """Every key of a table must be one of those allowed.

        Raises:
            UsageError: one is not; the message names the nearest.
        """
        known = tuple(allowed)
        for key in table:
            if key not in known:
                place = f"{within}.{key}" if within else key
                raise UsageError(
                    f"{self.path}: {self._full(place)} is unknown; {nearest(key, known)}"
                )

    def _full(self, key: str) -> str:
        own = self.path is None or self.path.name == OWN_FILE
        return key if own else f"tool.telemetry.{key}"


NO_CONFIGURATION = Configuration()


def find_configuration(start: Path | None = None) -> Configuration:
    """The settings that hold in a folder, by default the working folder.

    Raises:
        UsageError: the nearest file is no TOML, cannot be read, or has an unknown key.
    """
    try:
        folder = (start or Path.cwd()).absolute()
    except OSError:  # the working folder was removed
        return NO_CONFIGURATION
    for parent in (folder, *folder.parents):
        own = _read(parent / OWN_FILE)
        project = None if own is not None else _project_table(parent / PROJECT_FILE)
        table = own if own is not None else project
        if table is not None:
            name = OWN_FILE if own is not None else PROJECT_FILE
            found = Configuration(path=parent / name, table=table)
            found.check_keys(table, KEYS)
            return found
    return NO_CONFIGURATION


def store_folder() -> Path:
    """Folder of the runs where none is named: `$TELEMETRY_STORE`, the settings file, the default.

    Raises:
        UsageError: the settings file is wrong, or an address on a network is named.
    """
    named = os.environ.get(STORE_VARIABLE)
    return local_folder(named) if named else find_configuration().store or Path(DEFAULT_STORE)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean a, b?`, or all names where none is near."""
    names = tuple(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {', '.join(near)}?"
    return f"there are {', '.join(names)}." if names else "it has none."


def written(value: object) -> str:
    """A value as the file has it, in short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _project_table(path: Path) -> Table | None:
    """`[tool.telemetry]`; None where the file has no such table."""
    # A pyproject.toml that is broken is the concern of other tools, unless it may be about us.
    try:
        if "telemetry" not in _text_of(path):
            return None
    except (OSError, UnicodeDecodeError):
        return None
    tools = (_read(path) or {}).get("tool")
    own = tools.get("telemetry") if isinstance(tools, Mapping) else None
    if own is not None and not isinstance(own, Mapping):
        raise UsageError(f"{path}: tool.telemetry = {written(own)}: it must be a table.")
    return own


def _text_of(path: Path) -> str:
    return read_regular(path, limit_bytes=SIZE_LIMIT_BYTES).decode("utf-8")


def _read(path: Path) -> Table | None:
    """The content of a TOML file; None where there is no such file."""
    try:
        return tomllib.loads(_text_of(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
