import pytest

from telemetry.errors import UsageError
from telemetry.explain.names import known

pytestmark = pytest.mark.torch

LAYERS = ["stem", *(f"block{index}.conv" for index in range(9)), "head"]


def test_a_known_name_is_itself() -> None:
    assert known("layer", "head", LAYERS) == "head"


def test_the_closest_names_are_said_first_and_eight_at_most() -> None:
    with pytest.raises(
        UsageError, match=r"no layer 'haed'; there are head, stem, .*, \.\.\.$"
    ) as raised:
        known("layer", "haed", LAYERS)
    assert str(raised.value).count("block") == 6


def test_of_few_names_all_are_said() -> None:
    with pytest.raises(UsageError, match=r"there are 3, 0, 10\.$"):
        known("layer", "33", ["0", "3", "10"])
