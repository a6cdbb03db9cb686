"""Options of the command line, made from the settings that a request declares."""

from collections.abc import Callable, MutableMapping
from functools import partial
from typing import ParamSpec, TypeVar

import click

from telemetry.errors import UsageError
from telemetry.requests.settings import Declared, declared, record_of
from telemetry.requests.values import Request

R = TypeVar("R", bound=Request)
T = TypeVar("T")
P = ParamSpec("P")


def with_settings(record: type[Request]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Adds one option for each setting of a request, in their order."""

    def decorate(body: Callable[P, T]) -> Callable[P, T]:
        for one in reversed(list(declared(record))):
            body = _option(one)(body)
        return body

    return decorate


def parameters_of(
    *decorators: Callable[[Callable[[], None]], Callable[[], None]],
) -> list[click.Parameter]:
    """The options that decorators add, in the order in which these stand above a function."""

    def bare() -> None: ...

    for decorator in reversed(decorators):
        decorator(bare)
    found: list[click.Parameter] = list(reversed(getattr(bare, "__click_params__", [])))
    return found


def read_settings(record: type[R], typed: MutableMapping[str, object]) -> R:
    """The request of what was typed, which is taken out.

    Args:
        record: The request.
        typed: Values by the names of the fields; None for what was not typed.

    Raises:
        UsageError: a text cannot be read, or settings contradict each other.
    """
    return record_of(record, {one.name: _value(one, typed) for one in declared(record)})


def _value(one: Declared, typed: MutableMapping[str, object]) -> object:
    found = typed.pop(one.name)
    try:
        return one.value(found)
    except ValueError as error:
        raise UsageError(f"{one.flag} {found}: {error}.") from error


def _option(one: Declared) -> Callable[[Callable[P, T]], Callable[P, T]]:
    setting = one.setting
    if setting.argument:
        return click.argument(one.name, metavar=setting.metavar, required=one.is_required)
    if one.type is bool:
        return click.option(one.flag, one.name, is_flag=True, default=False, help=setting.help)
    has_default = one.default is not None and not one.is_repeated and setting.read is None
    option = partial(
        click.option,
        one.flag,
        one.name,
        type=_type(one),
        metavar=setting.metavar,
        multiple=one.is_repeated,
        required=one.is_required,
        show_default=has_default,
        help=setting.help,
    )
    return option(default=one.default) if has_default else option()


def _type(one: Declared) -> "click.Choice[str] | click.IntRange | click.FloatRange | type":
    """How a value is read; one that is read by a function of its own is a text."""
    setting = one.setting
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.read is not None:
        return str
    is_open = setting.above is not None
    least = setting.above if is_open else setting.least
    if least is None and setting.most is None:
        return one.type
    if one.type is int:
        return click.IntRange(_whole(least), _whole(setting.most), min_open=is_open)
    return click.FloatRange(least, setting.most, min_open=is_open)


def _whole(end: float | None) -> int | None:
    return None if end is None else int(end)
