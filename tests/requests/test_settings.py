from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.settings import Batch, Setting, declared, names, record_of
from telemetry.requests.values import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    steps: Annotated[int, Setting("Steps.", least=1)] = 8
    check: Annotated[bool, Setting("Skip the checks.", flag="--no-checks")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Request):
    layer: Annotated[str, Setting("A module.")]
    how: How = How()
    units: Annotated[tuple[str, ...], Setting("Units.", flag="--unit")] = ()
    axes: Annotated[tuple[str, ...], Setting("Axes.", read=names)] = ()
    batch: Batch = 64
    place: str = "not for the terminal"


def test_options_stand_where_their_fields_stand() -> None:
    found = list(declared(Asked))
    assert [one.flag for one in found] == [
        "--layer",
        "--steps",
        "--no-checks",
        "--unit",
        "--axes",
        "--batch",
    ]
    assert [one.name for one in found if one.is_required] == ["layer"]
    assert [one.name for one in found if one.is_repeated] == ["units"]
    assert [one.type for one in found] == [str, int, bool, str, str, int]


def test_a_record_is_made_from_values_by_name() -> None:
    values = {"layer": "fc", "steps": 3, "check": False, "axes": names("hue, ,blur")}
    expected = Asked(layer="fc", how=How(steps=3, check=False), axes=("hue", "blur"))
    assert record_of(Asked, values) == expected


def test_what_was_not_typed_is_the_default_and_a_flag_turns_round() -> None:
    found, typed = {one.name: one for one in declared(Asked)}, True
    assert found["steps"].value(None) == 8
    assert found["check"].value(typed) is False
    assert found["check"].value(not typed) is True
    assert found["axes"].value("hue,blur") == ("hue", "blur")
