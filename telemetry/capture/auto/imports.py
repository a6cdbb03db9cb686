"""Modules that are waited for: whoever waits is told once a module has run."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def when_imported(name: str, wake: Callable[[ModuleType], None]) -> None:
    """Call a function with a module once that has run: now, if it has."""
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.meta_path.insert(0, _Waiting(name, wake))
    else:
        wake(loaded)


class _Waiting(MetaPathFinder):
    """Finds nothing itself; calls `wake` once the module has run."""

    def __init__(self, name: str, wake: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._wake = wake

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's real spec, with a loader that tells when it has run."""
        del path, target
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec, spec.loader, self._wake)
        return spec


class _Telling(Loader):
    """Runs a module by its own loader, gives that back to it, and tells."""

    def __init__(
        self, spec: ModuleSpec, loader: Loader, wake: Callable[[ModuleType], None]
    ) -> None:
        self._spec = spec
        self._loader = loader
        self._wake = wake

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the real loader does; then the module is as if nobody had waited for it."""
        self._spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._wake(module)
