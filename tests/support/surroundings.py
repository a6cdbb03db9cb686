"""What may stand around a training loop: modes, switches of torch, hooks of the user."""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Models: TypeAlias = Sequence[nn.Module]
Log: TypeAlias = list[object]


class DispatchLog(TorchDispatchMode):
    """Names what is dispatched."""

    def __init__(self, names: list[object]) -> None:
        super().__init__()
        self.names = names

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class FunctionLog(TorchFunctionMode):
    """Names the functions of torch that are called."""

    def __init__(self, names: list[object]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        self.names.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing(models: Models, log: Log) -> Iterator[None]:
    del models, log
    yield


@contextmanager
def anomaly(models: Models, log: Log) -> Iterator[None]:
    del models, log
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it slows training down, torch says
        with torch.autograd.set_detect_anomaly(mode=True):
            yield


@contextmanager
def deterministic(models: Models, log: Log) -> Iterator[None]:
    del models, log
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


@contextmanager
def dispatch_mode(models: Models, log: Log) -> Iterator[None]:
    del models
    with DispatchLog(log):
        yield


@contextmanager
def function_mode(models: Models, log: Log) -> Iterator[None]:
    del models
    with FunctionLog(log):
        yield


@contextmanager
def module_hooks(models: Models, log: Log) -> Iterator[None]:
    """Hooks that draw random numbers and change the outputs."""

    def hook(module: nn.Module, args: object, output: object) -> object:
        del args
        log.append(type(module).__name__)
        if isinstance(output, Tensor) and output.is_floating_point():
            return output * (1 + random.random())  # noqa: S311 - as a training may
        return None

    for module in leaves(models):
        module.register_forward_hook(hook)
    yield


@contextmanager
def backward_hooks(models: Models, log: Log) -> Iterator[None]:
    def hook(module: nn.Module, inputs: object, outputs: tuple[Tensor, ...]) -> None:
        del inputs
        log.append((type(module).__name__, outputs[0].detach().clone()))

    for model in models:
        leaves([model])[-1].register_full_backward_hook(hook)
    yield


@contextmanager
def tensor_hooks(models: Models, log: Log) -> Iterator[None]:
    """Hooks that change gradients, and that see them when they are complete."""

    def seen(parameter: Tensor) -> None:
        log.append(None if parameter.grad is None else parameter.grad.clone())

    for model in models:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient * 0.5)
                parameter.register_post_accumulate_grad_hook(seen)
    yield


@contextmanager
def compiled(models: Models, log: Log) -> Iterator[None]:
    """The loop compiles its models."""
    del models, log
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def leaves(models: Models) -> list[nn.Module]:
    return [m for model in models for m in model.modules() if not list(m.children())]


SURROUNDINGS: dict[str, Callable[[Models, Log], AbstractContextManager[None]]] = {
    "nothing": nothing,
    "autocast": nothing,  # around each forward, by the loop
    "anomaly": anomaly,
    "deterministic": deterministic,
    "dispatch_mode": dispatch_mode,
    "function_mode": function_mode,
    "module_hooks": module_hooks,
    "backward_hooks": backward_hooks,
    "tensor_hooks": tensor_hooks,
    "compile": compiled,
}
