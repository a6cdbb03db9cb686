"""Which module an optimizer trains: found among the live ones by the parameters they own."""

import gc
import sys
from collections.abc import Container, Iterable, Mapping, Sequence

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.catalogue.module_roles import Together


def numbered_parameters(optimizers: Iterable[Optimizer]) -> dict[int, int]:
    """Identities of everything that the optimizers move, numbered in their order."""
    found = (id(parameter) for optimizer in optimizers for parameter in parameters_of(optimizer))
    return {identity: number for number, identity in enumerate(dict.fromkeys(found))}


def owns(module: nn.Module, wanted: Container[int]) -> bool:
    """Whether one of these parameters belongs to the module or to a part of it."""
    return any(id(parameter) in wanted for parameter in module.parameters())


def owns_all(module: nn.Module, wanted: Mapping[int, int]) -> bool:
    """Whether every one of these parameters belongs to the module or to a part of it."""
    return wanted.keys() <= {id(parameter) for parameter in module.parameters()}


def root_of(optimizers: Sequence[Optimizer], called: nn.Module | None) -> nn.Module:
    """The module to record.

    The module that the script calls, if it owns everything that the optimizers move; it may be a
    wrapper, and may own more, such as a frozen backbone. Else the smallest live module that owns
    everything; else what was found of it, side by side under one root.

    Args:
        optimizers: Those that train.
        called: The outermost module whose forward is about to run, if that is known.
    """
    wanted = numbered_parameters(optimizers)
    if called is not None and owns_all(called, wanted):
        return called
    owners = [module for module in _live_modules() if owns(module, wanted)]
    covering = [module for module in owners if owns_all(module, wanted)]
    if covering:
        return min(covering, key=_size)
    outermost = _outermost(owners, wanted)
    if len(outermost) == 1:
        return outermost[0]
    return called if called is not None and not outermost else _together(outermost)


def _live_modules() -> list[nn.Module]:
    # By type, never isinstance: `__class__` of a foreign object may be a property that does things.
    return [found for found in gc.get_objects() if issubclass(type(found), nn.Module)]


def _size(module: nn.Module) -> tuple[int, int]:
    """Numbers of elements and of modules: of two wrappers of the same parameters, the inner."""
    n_elements = sum(p.numel() for p in module.parameters() if not is_lazy(p))
    return n_elements, sum(1 for _ in module.modules())


def _outermost(owners: Sequence[nn.Module], wanted: Mapping[int, int]) -> list[nn.Module]:
    """Modules that no other one holds, in the order of their parameters in the optimizers."""
    inner = {id(part) for owner in owners for part in list(owner.modules())[1:]}
    return sorted(
        (owner for owner in owners if id(owner) not in inner),
        key=lambda owner: min(wanted[id(p)] for p in owner.parameters() if id(p) in wanted),
    )


def _together(modules: Sequence[nn.Module]) -> nn.Module:
    """One root over several modules, each under the name that it has in the script."""
    root = Together()
    script = vars(sys.modules["__main__"])
    names = {id(value): name for name, value in script.items() if not name.startswith("_")}
    for module in modules:
        name = names.get(id(module), type(module).__name__.lower())
        taken = [name, *(f"{name}_{number}" for number in range(1, len(modules) + 1))]
        root.add_module(next(free for free in taken if not hasattr(root, free)), module)
    return root
