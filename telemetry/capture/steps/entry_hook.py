"""The one hook that stays on the model: it sees each forward begin.

Everything else is hooked on sampled steps only, so an unsampled forward costs one Python call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import nn
from torch.jit._script import RecursiveScriptModule
from torch.utils.hooks import RemovableHandle

Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]
ForwardObserver: TypeAlias = Callable[
    [nn.Module, tuple[object, ...], Mapping[str, object]], Arguments | None
]
is_compiling = torch.compiler.is_compiling


class DoesNotTravel:
    """A hook whose copies and pickles do nothing: those of the model can be loaded without us."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # The exit of a null context takes any arguments and returns None, as a hook must.
        return getattr, (nullcontext(), "__exit__")


class EntryHook(DoesNotTravel):
    """A forward pre-hook, with keyword arguments.

    Args:
        observer: Told of each forward that begins outside of compiled code; the arguments that it
            returns are those that the forward gets.
    """

    __slots__ = ("_observer",)

    def __init__(self, observer: ForwardObserver) -> None:
        self._observer = observer

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """See one forward begin."""
        return None if is_compiling() else self._observer(module, args, kwargs)


def lasting_entries(model: nn.Module) -> list[nn.Module]:
    """Modules through which forwards enter the model and that may be hooked.

    One that was compiled in place may not: its hooks would be compiled with it, to nothing. Nor may
    one that was scripted.
    """
    return [
        module
        for module in entry_modules(model)
        if getattr(module, "_compiled_call_impl", None) is None
        and not isinstance(module, RecursiveScriptModule)
    ]


def hook_entry(module: nn.Module, observer: ForwardObserver) -> RemovableHandle:
    """Hook one module through which a forward may enter."""
    return module.register_forward_pre_hook(EntryHook(observer), with_kwargs=True)


def entry_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The model, or the outermost modules with a forward where it is a mere container."""
    if is_container(model):
        for child in model.children():
            yield from entry_modules(child)
    else:
        yield model


def is_container(module: nn.Module) -> bool:
    """A module that cannot be called: ModuleList, ModuleDict, a class without `forward`."""
    # The class of what TorchScript made raises AttributeError where it is asked for its forward.
    forward = getattr(type(module), "forward", None)
    return forward is nn.Module.forward or isinstance(
        module, nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict
    )
