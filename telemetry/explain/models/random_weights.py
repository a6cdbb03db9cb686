"""Models and layers with new random weights: what learning must be told apart from."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)

MATRIX = 2  # dimensions of weights that say which inputs count; a norm layer has none


def with_random_weights(model: M, seed: int, layers: Sequence[str] | None = None) -> M:
    """A copy with new weights: by `reset_parameters`, else each tensor's own values permuted.

    Args:
        model: What is copied.
        seed: Of the new weights.
        layers: Names of the only modules that get new ones; None: all do.
    """
    other = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in [other] if layers is None else map(other.get_submodule, layers):
            _randomise(module)
    return other


def mirrored(model: M, layer: str) -> M:
    """The model, whose layer now has all its own weights with the other sign."""
    with torch.no_grad():
        for parameter in model.get_submodule(layer).parameters(recurse=False):
            parameter.neg_()
    return model


def run_order(model: nn.Module, run: Callable[[], object]) -> list[str]:
    """Names of the layers with weights that can be drawn again, in the order in which they ran.

    One that runs several times stands where it ran last; a model that is one layer has the name ''.
    """
    order: list[str] = []

    def noted(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, _output: order.append(name)

    handles = [
        module.register_forward_hook(noted(name))
        for name, module in model.named_modules()
        if (name or _is_one_layer(model))
        and callable(getattr(module, "reset_parameters", None))
        and _has_matrix(module)
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(reversed(order)))[::-1]


def _is_one_layer(model: nn.Module) -> bool:
    return next(model.children(), None) is None


def _has_matrix(module: nn.Module) -> bool:
    parameters: Iterable[nn.Parameter] = module.parameters(recurse=False)
    return any(parameter.dim() >= MATRIX for parameter in parameters)


def _randomise(model: nn.Module) -> None:
    done: set[int] = set()
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            done.update(id(parameter) for parameter in module.parameters(recurse=False))
    with torch.no_grad():
        for parameter in model.parameters():
            if id(parameter) not in done:
                flat = parameter.flatten()
                parameter.copy_(flat[torch.randperm(flat.numel())].view_as(parameter))
