"""What may be set: fields of a request, each of which is an option of the command line.

A field of a frozen dataclass declares its option where it stands:

    steps: Annotated[int, Setting("Number of optimisation steps.", least=1)] = 128

The command line makes the option from it and reads the record from what was typed; the record
travels as JSON; the function that computes takes it. A field without a default is required; a field
that is a record of its own gives its options at its place.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, MISSING, Field, dataclass, fields, is_dataclass
from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Setting:
    """The option of a field.

    Attributes:
        help: What it says of itself.
        flag: Its name where that is not the name of the field; of a truth value that is true
            unless the option is given the name that turns it off.
        argument: Whether it is an argument, which has no flag.
        metavar: What stands for the value in the help.
        choices: Every value there is.
        least: The smallest value.
        above: Values are larger than this.
        most: The largest value.
        read: Makes the value of the text that was typed; its ValueError says what to write.
    """

    help: str
    _: KW_ONLY
    flag: str = ""
    argument: bool = False
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    read: Callable[[str], object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A field with its option.

    Attributes:
        name: Of the field.
        setting: What the option is.
        type: Of the value, or of each of several.
        is_repeated: Whether the option may be given several times.
        is_required: Whether it has no default.
        default: Its default; None where it has none.
    """

    name: str
    setting: Setting
    type: type
    is_repeated: bool
    is_required: bool
    default: object

    @property
    def flag(self) -> str:
        """Such as `--max-calls`."""
        return self.setting.flag or f"--{self.name.replace('_', '-')}"

    def value(self, typed: object) -> object:
        """What the field holds of what was typed; the default where nothing was.

        Raises:
            ValueError: the text cannot be read; says what to write.
        """
        if self.type is bool:
            return typed is not self.default
        if typed is None:
            return self.default
        if self.setting.read is not None:
            return self.setting.read(str(typed))
        return typed


Batch = Annotated[int, Setting("Number of inputs per forward pass.", metavar="N", least=1)]
Tolerance = Annotated[
    float | None, Setting("Largest error of a correct answer in a regression.", above=0)
]


def declared(record: type) -> Iterator[Declared]:
    """The options of a record, in the order of its fields."""
    hints = get_type_hints(record, include_extras=True)
    for field in _fields(record):
        hint = hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from declared(hint)
        elif get_origin(hint) is Annotated:
            yield _declared(field, *get_args(hint))


def record_of(record: type[R], values: Mapping[str, object]) -> R:
    """A record with values by the names of its fields, those of its parts among them."""
    hints = get_type_hints(record)
    found: dict[str, object] = {}
    for field in _fields(record):
        hint = hints[field.name]
        if field.name in values:
            found[field.name] = values[field.name]
        elif isinstance(hint, type) and is_dataclass(hint) and list(declared(hint)):
            found[field.name] = record_of(hint, values)
    return record(**found)


def names(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _fields(record: type) -> "tuple[Field[object], ...]":
    assert is_dataclass(record)  # noqa: S101 - tells the type checker
    return fields(record)


def _declared(field: "Field[object]", hint: object, setting: Setting) -> Declared:
    origin, choices = get_origin(hint), get_args(hint)
    if origin is types.UnionType:  # X | None
        hint = choices[0]
        origin, choices = get_origin(hint), get_args(hint)
    is_many = origin is tuple
    single = choices[0] if is_many else hint
    return Declared(
        name=field.name,
        setting=setting,
        type=single if isinstance(single, type) else str,
        is_repeated=is_many and setting.read is None,
        is_required=field.default is MISSING and field.default_factory is MISSING,
        default=None if field.default is MISSING else field.default,
    )
