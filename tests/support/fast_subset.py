"""Which tests `pytest --fast` runs: of each room some files, of each file the first test."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

FILES_PER_FOLDER = 3
SUPPORT = Path(__file__).parent
STARTS_PROCESSES = frozenset({"subprocess", "multiprocessing"})


def fast_subset(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """One test a file, of some files a folder; none of files that start processes.

    A process that loads torch takes seconds. By a rule, so that no list of tests has to be kept.
    """
    chosen: dict[Path, pytest.Item] = {}
    n_files: Counter[Path] = Counter()
    for item in items:
        module, folder = item.getparent(pytest.Module), item.path.parent
        if module is None or item.path in chosen or n_files[folder] == FILES_PER_FOLDER:
            continue
        if not item.get_closest_marker("slow") and not _starts_processes(module.obj):
            chosen[item.path] = item
            n_files[folder] += 1
    return list(chosen.values())


def _starts_processes(module: ModuleType) -> bool:
    """Whether a test file, or a helper of tests that it uses, knows how to start a process."""
    return any(
        bool(STARTS_PROCESSES & {name.rpartition(".")[2] for name in _used(known)})
        for known in (module, *_helpers(module))
    )


def _helpers(module: ModuleType) -> list[ModuleType]:
    found = [sys.modules[name] for name in _used(module) if name in sys.modules]
    return [one for one in found if Path(getattr(one, "__file__", None) or "/").parent == SUPPORT]


def _used(module: ModuleType) -> set[str]:
    """Names of the modules that its global names are, or come from."""
    values = vars(module).values()
    owners = [one.__name__ if isinstance(one, ModuleType) else _owner(one) for one in values]
    return {name for name in owners if name != module.__name__}


def _owner(value: object) -> str:
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""
