import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from telemetry.capture.environment.numerics import library_versions, switches


def test_imported_libraries_are_told_with_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setitem(sys.modules, "kornia", ModuleType("kornia"))
    found = library_versions()
    assert found["numpy"] == np.__version__
    assert "timm" not in found
    assert "kornia" not in found  # of a module without a version that is not installed


class Lazy(ModuleType):
    """Imports a part when it is asked for it."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def test_a_library_that_loads_late_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xformers", Lazy("xformers"))
    assert "xformers" not in library_versions()


def test_switches_follow_torch() -> None:
    assert switches()["deterministic"] is False
    torch.use_deterministic_algorithms(mode=True)
    try:
        assert switches()["deterministic"] is True
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert switches()["default_dtype"] == "float32"
    assert switches()["threads"] == torch.get_num_threads()
