"""Settings of an optimizer's parameter groups, and how they differ from what they were."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor
from torch.optim import Optimizer

from telemetry.json_values import Json

Setting: TypeAlias = "float | tuple[float, ...]"
Settings: TypeAlias = Sequence[Mapping[str, Setting]]


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
        yield from group["params"]


def settings_of_groups(optimizer: Optimizer) -> Settings:
    """All numbers among the settings of each group; tensors are not read."""
    return [
        {key: value for key, value in group.items() if _is_number(value)}
        for group in optimizer.param_groups
    ]


def changes(before: Settings, after: Settings) -> Iterator[Change]:
    """What differs in the groups that were there and are, in order."""
    for index, (former, latter) in enumerate(zip(before, after, strict=False)):
        if former != latter:
            for key, value in former.items():
                if key in latter and latter[key] != value:
                    yield Change(index, key, value, latter[key])


def _is_number(value: object) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(entry, int | float) for entry in value)
    return isinstance(value, int | float)


def _json(value: Setting) -> Json:
    return list(value) if isinstance(value, tuple) else value
