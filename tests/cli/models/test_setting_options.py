from dataclasses import dataclass
from typing import Annotated

import click
import pytest

from telemetry.cli.models.setting_options import parameters_of, read_settings, with_settings
from telemetry.errors import UsageError
from telemetry.requests.settings import Setting, names
from telemetry.requests.values import Request


def even(text: str) -> int:
    if int(text) % 2:
        raise ValueError("write an even number")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Request):
    layer: Annotated[str | None, Setting("Which.", argument=True, metavar="[LAYER]")] = None
    name: Annotated[str, Setting("A name.", metavar="NAME")]
    way: Annotated[str, Setting("How.", choices=("up", "down"))] = "up"
    share: Annotated[float | None, Setting("A share.", above=0, most=1)] = None
    most_calls: Annotated[int, Setting("Calls.", flag="--max-calls", least=1)] = 20
    units: Annotated[tuple[int, ...], Setting("Units.", flag="--unit")] = ()
    columns: Annotated[tuple[str, ...], Setting("Columns.", read=names)] = ()
    count: Annotated[int | None, Setting("Even.", read=even)] = None
    check: Annotated[bool, Setting("Skip.", flag="--no-checks")] = True
    place: str = "here"


def asked(*words: str) -> Asked:
    command = click.Command(
        "ask", params=parameters_of(with_settings(Asked)), callback=lambda **typed: typed
    )
    typed = command.main(list(words), standalone_mode=False)
    assert isinstance(typed, dict)
    return read_settings(Asked, typed)


def test_what_was_typed_becomes_the_request() -> None:
    words = ("fc", "--name", "n", "--way", "down", "--share", "0.5", "--max-calls", "3")
    more = ("--unit", "1", "--unit", "2", "--columns", "a, b", "--count", "4", "--no-checks")
    assert asked(*words, *more) == Asked(
        layer="fc",
        name="n",
        way="down",
        share=0.5,
        most_calls=3,
        units=(1, 2),
        columns=("a", "b"),
        count=4,
        check=False,
    )
    assert asked("--name", "n") == Asked(name="n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing parameter: name"),
        (("--name", "n", "--way", "left"), "'left' is not one of 'up', 'down'"),
        (("--name", "n", "--share", "0"), "0<x<=1"),
        (("--name", "n", "--max-calls", "0"), "x>=1"),
    ],
)
def test_click_refuses_what_no_value_can_be(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        asked(*words)


def test_a_text_that_cannot_be_read_is_named_with_its_option() -> None:
    with pytest.raises(UsageError, match=r"^--count 3: write an even number\.$"):
        asked("--name", "n", "--count", "3")


def test_help_tells_ranges_defaults_and_names() -> None:
    command = click.Command("ask", params=parameters_of(with_settings(Asked)))
    records = dict(
        record
        for option in command.params
        if (record := option.get_help_record(click.Context(command))) is not None
    )
    assert "[default: 20; x>=1]" in records["--max-calls INTEGER RANGE"]
    assert "[required]" in records["--name NAME"]
    assert "--no-checks" in records
