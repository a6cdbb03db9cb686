from types import ModuleType

import pytest

from telemetry import explain

pytestmark = pytest.mark.torch


def test_no_public_name_is_hidden_by_a_module_of_that_name() -> None:
    """Importing a submodule sets an attribute of its package, over whatever is resolved lazily."""
    names = {name: getattr(explain, name) for name in explain.__all__}
    again = {name: getattr(explain, name) for name in explain.__all__}
    assert not [name for name, value in again.items() if isinstance(value, ModuleType)]
    assert names == again
    assert set(explain.__all__) <= set(dir(explain))
