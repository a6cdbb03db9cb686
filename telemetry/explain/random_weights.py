"""Models and layers with new random weights: what learning must be told apart from."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_random_weights(model: M, seed: int) -> M:
    """A copy with new weights: by `reset_parameters`, else each tensor's own values permuted."""
    other = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _randomise(other)
    return other


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
