import inspect
from dataclasses import fields
from types import ModuleType

import pytest

from telemetry import explain
from telemetry.requests.explain.input import InputSettings
from telemetry.requests.explain.weights import WeightsRequest

pytestmark = pytest.mark.torch


def test_no_public_name_is_hidden_by_a_module_of_that_name() -> None:
    """Importing a submodule sets an attribute of its package, over whatever is resolved lazily."""
    names = {name: getattr(explain, name) for name in explain.__all__}
    again = {name: getattr(explain, name) for name in explain.__all__}
    assert not [name for name, value in again.items() if isinstance(value, ModuleType)]
    assert names == again
    assert set(explain.__all__) <= set(dir(explain))


def test_attribute_takes_the_settings_of_the_command_with_their_defaults() -> None:
    parameters = inspect.signature(explain.attribute).parameters.values()
    taken = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    del taken["progress"]
    assert taken == {field.name: field.default for field in fields(InputSettings)}


def test_weights_takes_the_settings_of_the_command_with_their_defaults() -> None:
    taken = inspect.signature(explain.weights).parameters
    declared = {field.name: field.default for field in fields(WeightsRequest)}
    assert {name: taken[name].default for name in ("layer", "top", "seed", "initial")} == {
        name: declared[name] for name in ("layer", "top", "seed", "initial")
    }
