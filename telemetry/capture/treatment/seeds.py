"""Other seeds for a script that sets its own: a number is added to each that it sets.

Generators that the script does not seed stay as they are.
"""

import functools
import random
from types import ModuleType
from typing import Protocol, cast


class Seeding(Protocol):
    """A function that takes a seed, among others."""

    def __call__(self, *values: object, **named: object) -> object:
        """Whatever it returns."""
        ...


def shift_random(offset: int) -> None:
    """`random.seed`."""
    _shift(random, ("seed",), offset)


def shift_numpy(offset: int, module: ModuleType) -> None:
    """`seed`, `default_rng` and `RandomState` of `numpy.random`."""
    _shift(module, ("seed", "default_rng"), offset)


def shift_torch(offset: int, module: ModuleType) -> None:
    """`torch.manual_seed`, that of its devices, and that of generators made from now on."""
    _shift(module, ("manual_seed",), offset)
    _shift(module.random, ("manual_seed",), offset)
    _shift(module.cuda, ("manual_seed", "manual_seed_all"), offset)
    kind = _shifted_generator(vars(module)["Generator"], offset)
    setattr(module, "Generator", kind)  # noqa: B010 - modules declare no such attribute


def _shift(owner: ModuleType, names: tuple[str, ...], offset: int) -> None:
    for name in names:
        original = getattr(owner, name)
        if not hasattr(original, "telemetry_offset"):
            setattr(owner, name, _shifted(original, offset))


def _shifted(original: Seeding, offset: int) -> Seeding:
    @functools.wraps(original)
    def seed(*values: object, **named: object) -> object:
        moved = [value + offset if _is_seed(value) else value for value in values]  # type: ignore[operator]
        others = {
            name: value + offset if name == "seed" and _is_seed(value) else value  # type: ignore[operator]
            for name, value in named.items()
        }
        return original(*moved, **others)

    seed.telemetry_offset = offset  # type: ignore[attr-defined]
    return seed


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shifted_generator(kind: type, offset: int) -> type:
    """A class of generators like `torch.Generator`, of which all generators are instances."""

    class Meta(type(kind)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, kind)

    seeding = cast("Seeding", kind.manual_seed)  # type: ignore[attr-defined]

    def manual_seed(generator: object, seed: int) -> object:
        return seeding(generator, seed + offset)

    return Meta(kind.__name__, (kind,), {"manual_seed": manual_seed, "__module__": kind.__module__})
