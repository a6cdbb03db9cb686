"""Settings of an optimizer's parameter groups, and how they differ from what they were.

A group is a dict that anybody writes into: Adafactor's `eps` is a pair, other libraries keep texts,
tensors and whole objects there. What is read out of one is asked for here, by its type.
"""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import NamedTuple, TypeAlias

from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.environment.config import LARGEST_INT, described_value
from telemetry.json_values import Json, json_number

Number: TypeAlias = Tensor | float
Setting: TypeAlias = float | tuple[float, ...]
Settings: TypeAlias = Sequence[Mapping[str, Setting]]
Group: TypeAlias = Mapping[str, object]

PARAMETERS = "params"  # what a group holds beside its settings

MAX_ENTRIES = 8  # of a list, told when the callback is made


class Change(NamedTuple):
    """One setting of one group that is another now."""

    group: int
    key: str
    before: Setting
    after: Setting

    def payload(self) -> dict[str, Json]:
        """As the details of an event."""
        return {"group": self.group, "before": _json(self.before), "after": _json(self.after)}


def parameters_of(optimizer: Optimizer) -> Iterator[Tensor]:
    """The parameters of all groups, in order."""
    for group in optimizer.param_groups:
        yield from group[PARAMETERS]


def number_of(group: Group, key: str) -> Number | None:
    """A setting that is one real number, on its device; None where it is anything else."""
    return plain_number(group.get(key))


def entry_of(group: Group, key: str, place: int) -> Number | None:
    """One number of a setting that is a pair, as `betas` is; None where it is anything else."""
    value = group.get(key)
    if not isinstance(value, tuple | list) or len(value) <= place:
        return None
    return plain_number(value[place])


def is_switched_on(group: Group, key: str) -> bool:
    """Whether a setting is true or a number but 0; a tensor, which is not read, counts as one."""
    value = plain_number(group.get(key))
    return isinstance(value, Tensor) or bool(value)


def plain_number(value: object) -> Number | None:
    """A real number, or a tensor that holds one and is not read; None for anything else."""
    if type(value) is float:  # nearly always, and each step asks
        return value
    if isinstance(value, Tensor):
        return value if value.numel() == 1 and not value.is_complex() else None
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_INT else json_number(value)
    return _as_float(value) if isinstance(value, Real) else None


def settings_of_groups(optimizer: Optimizer) -> Settings:
    """All numbers among the settings of each group; tensors are not read."""
    return [
        {
            key: known
            for key, value in group.items()
            if key != PARAMETERS and (known := _setting(value)) is not None
        }
        for group in optimizer.param_groups
    ]


def changes(before: Settings, after: Settings) -> Iterator[Change]:
    """What differs in the groups that were there and are, in order."""
    for index, (former, latter) in enumerate(zip(before, after, strict=False)):
        if former != latter:
            for key, value in former.items():
                if key in latter and not _is_same(latter[key], value):
                    yield Change(index, key, value, latter[key])


def described_setting(value: object) -> Json:
    """A setting as JSON; a tensor is read, so this is for the making of a callback."""
    number = plain_number(value)
    if isinstance(number, Tensor):
        return float(number)
    if number is not None:
        return number
    if isinstance(value, tuple | list):
        return [described_value(entry) for entry in value[:MAX_ENTRIES]]
    return described_value(value)


def _setting(value: object) -> Setting | None:
    if not isinstance(value, tuple | list):
        number = plain_number(value)
        return None if isinstance(number, Tensor) else number
    numbers = [plain_number(entry) for entry in value]
    known = [one for one in numbers if one is not None and not isinstance(one, Tensor)]
    return tuple(known) if len(known) == len(value) else None


def _is_same(left: Setting, right: Setting) -> bool:
    """Equality in which NaN is the same as NaN."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(_is_same(one, other) for one, other in pairs)
    return left == right or (left != left and right != right)  # noqa: PLR0124 - only NaN is not itself


def _as_float(value: Real) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _json(value: Setting) -> Json:
    return list(value) if isinstance(value, tuple) else value
