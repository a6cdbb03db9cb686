"""A forward that leaves no trace: random states, buffers, modes, hooks and attributes come back.

Buffers are not written back but replaced by copies while the forward runs: a write, even of the
same bits, would tell autograd that a tensor it has saved was changed. Hooks that are not torch's
own do not run, for what they do outside the model could not be taken back.
"""

import functools
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.parameter import is_lazy
from torch.overrides import _pop_mode as _pop_function_mode
from torch.overrides import _push_mode as _push_function_mode
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _pop_mode, _push_mode

from telemetry.capture.isolation.hook_scope import n_dispatch_modes, n_function_modes

DICTIONARIES = (dict, OrderedDict, defaultdict, Counter)
SEQUENCES = (list, deque)
Undo = Callable[[], None]
K = TypeVar("K")
V = TypeVar("V")


@contextmanager
def undisturbed(
    model: nn.Module, *, gradient: bool = False, autocast: torch.dtype | None = None
) -> Iterator[None]:
    """A block in which a forward of the model changes nothing that lasts.

    Parts compiled by torch.compile run eagerly; autocast keeps no casts, for they would be made
    without gradient; modes of dispatch and of functions do not see it. Parameters are neither
    copied nor put back, nor is what an attribute of a module merely refers to, except plain
    containers.

    Args:
        model: Runs in the block.
        gradient: Whether it runs with gradient.
        autocast: To which type; None: it is off.
    """
    with ExitStack() as stack:
        if n_dispatch_modes() or n_function_modes():
            stack.enter_context(_modes_set_aside())
        stack.enter_context(_random_states(model))
        _set_aside(model, stack)
        stack.enter_context(_eager())
        for kind in {"cpu", *(p.device.type for p in model.parameters())} - {"meta"}:
            stack.enter_context(_autocast(kind, autocast))
        stack.enter_context(torch.set_grad_enabled(gradient))
        yield


def _eager() -> AbstractContextManager[object]:
    """What is compiled runs as it is written; nothing can be, before torch._dynamo is loaded.

    Loading it takes as long as all of torch (2.13: 1 s of a core each).
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _autocast(kind: str, dtype: torch.dtype | None) -> torch.autocast:
    if dtype is None:
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, dtype=dtype, cache_enabled=False)


@contextmanager
def _modes_set_aside() -> Iterator[None]:
    """Take all modes away but a default device, and let others be entered inside."""
    mine = torch._C  # noqa: SLF001 - what follows has no public name
    dispatch = [_pop_mode() for _ in range(mine._len_torch_dispatch_stack())]  # noqa: SLF001
    functions = [
        _pop_function_mode()  # type: ignore[no-untyped-call]
        for _ in range(mine._len_torch_function_stack())  # noqa: SLF001
    ]
    kept = [mode for mode in functions if isinstance(mode, DeviceContext)]
    excluded = mine._dispatch_tls_local_exclude_set()  # noqa: SLF001
    for key in (mine.DispatchKey.Python, mine.DispatchKey.PythonTLSSnapshot):
        excluded = excluded.remove(key)
    included = mine._dispatch_tls_local_include_set()  # noqa: SLF001
    for mode in reversed(kept):
        _push_function_mode(mode)  # type: ignore[no-untyped-call]
    try:
        with mine._EnableTorchFunction(), mine._ForceDispatchKeyGuard(included, excluded):  # noqa: SLF001
            yield
    finally:
        for _ in kept:
            _pop_function_mode()  # type: ignore[no-untyped-call]
        for mode in reversed(functions):
            _push_function_mode(mode)  # type: ignore[no-untyped-call]
        for mode in reversed(dispatch):
            _push_mode(mode)


@contextmanager
def _random_states(model: nn.Module) -> Iterator[None]:
    tensors = (*model.parameters(), *model.buffers())
    devices = {t.device for t in tensors if t.device.type not in {"cpu", "meta"}}
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what loops use
    with ExitStack() as stack:
        stack.callback(random.setstate, python)
        stack.callback(np.random.set_state, legacy)
        for kind in {"cuda", *(device.type for device in devices)}:
            own = [device for device in devices if device.type == kind]
            stack.enter_context(torch.random.fork_rng(own, device_type=kind))
        yield


def _set_aside(model: nn.Module, stack: ExitStack) -> None:
    """Let the forward work on copies of everything that it may change."""
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        own = module.__dict__
        for container in own.values():
            undo = _undo(container)
            if undo is not None:
                stack.callback(undo)
        stack.callback(functools.partial(_put_back, own, own.copy()))
        _replace_tensors(own, copies)
        buffers = cast("dict[str, object]", module._buffers)  # noqa: SLF001 - no public name
        _replace_tensors(buffers, copies)
        _drop_hooks(module._forward_pre_hooks)  # noqa: SLF001 - as above
        _drop_hooks(module._forward_hooks)  # noqa: SLF001 - as above
    for hooks in (torch_module._global_forward_pre_hooks, torch_module._global_forward_hooks):  # noqa: SLF001
        stack.callback(functools.partial(_put_back, hooks, hooks.copy()))
        _drop_hooks(hooks)


def _replace_tensors(attributes: MutableMapping[str, object], copies: dict[int, Tensor]) -> None:
    for name, value in attributes.items():
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not is_lazy(value):
            copy = copies.get(id(value))
            if copy is None:
                copy = copies[id(value)] = value.detach().clone()
            attributes[name] = copy


def _drop_hooks(hooks: MutableMapping[int, V]) -> None:
    for key in [key for key, hook in hooks.items() if not _is_of_torch(hook)]:
        del hooks[key]


def _is_of_torch(hook: object) -> bool:
    """Such as weight_norm, without which a module would compute something else."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    name = getattr(hook, "__module__", None) or ""
    return name.split(".")[0] == "torch"


def _undo(container: object) -> Undo | None:
    """What gives a plain container its present content back; None for anything else."""
    if type(container) in DICTIONARIES:
        assert isinstance(container, dict)  # noqa: S101 - tells the type checker
        return functools.partial(_put_back, container, container.copy())
    if type(container) in SEQUENCES:
        assert isinstance(container, list | deque)  # noqa: S101 - tells the type checker
        return functools.partial(_put_back_items, container, list(container))
    if type(container) is set:
        return functools.partial(_put_back_set, container, container.copy())
    return None


def _put_back(target: MutableMapping[K, V], saved: Mapping[K, V]) -> None:
    """Only what changed is written, so that what was compiled sees the dictionary it knows."""
    if list(target) != list(saved):
        target.clear()
        target.update(saved)
        return
    for key, value in saved.items():
        if target[key] is not value:
            target[key] = value


def _put_back_items(target: list[object] | deque[object], saved: list[object]) -> None:
    is_same = len(target) == len(saved) and all(a is b for a, b in zip(target, saved, strict=True))
    if not is_same:
        target.clear()
        target.extend(saved)


def _put_back_set(target: set[object], saved: set[object]) -> None:
    if target != saved:
        target.clear()
        target.update(saved)
