"""The one hook that stays on the model: it sees each forward begin.

Everything else is hooked on sampled steps only, so an unsampled forward costs one Python call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

ForwardObserver = Callable[[nn.Module, tuple[object, ...], Mapping[str, object]], None]


class EntryHook:
    """A forward pre-hook that does not travel: copies and pickles of the model do nothing there."""

    def __init__(self, observer: ForwardObserver) -> None:
        self._observer = observer

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """See one forward begin; never changes its arguments."""
        if not torch.compiler.is_compiling():
            self._observer(module, args, kwargs)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # The exit of a null context takes any arguments and returns None, as a hook must.
        return getattr, (nullcontext(), "__exit__")


def install(model: nn.Module, observer: ForwardObserver) -> list[RemovableHandle]:
    """Hook every module through which a forward enters the model; handles remove the hooks.

    A module that was compiled in place gets none: its hooks would be compiled with it, to nothing.
    """
    return [
        module.register_forward_pre_hook(EntryHook(observer), with_kwargs=True)
        for module in entry_modules(model)
        if getattr(module, "_compiled_call_impl", None) is None
    ]


def entry_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The model, or the outermost modules with a forward where it is a mere container."""
    if is_container(model):
        for child in model.children():
            yield from entry_modules(child)
    else:
        yield model


def is_container(module: nn.Module) -> bool:
    """A module that cannot be called: ModuleList, ModuleDict, a class without `forward`."""
    return type(module).forward is nn.Module.forward or isinstance(
        module, nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict
    )
