"""Optimizers of every kind, as a table: functions from a model to an `Update`."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Way(enum.Enum):
    """How a loop updates the weights."""

    STEP = "step()"
    CLOSURE = "step(closure)"
    BACKWARD = "step() by hooks inside the backward pass"
    BY_HAND = "without an optimizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The optimizers of one model, and how they are stepped."""

    optimizers: list[Optimizer] = field(default_factory=list)
    way: Way = Way.STEP


Maker: TypeAlias = Callable[[nn.Module], Update]


def trained(model: nn.Module, *, sparse: bool | None = None) -> list[nn.Parameter]:
    """Parameters that are optimized; those with, or without, sparse gradients only."""
    owners = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    chosen = [p for p in model.parameters() if p.requires_grad]
    if sparse is None:
        return chosen
    return [p for p in chosen if any(p is owner for owner in owners) == sparse]


def of(kind: Callable[..., Optimizer], *, sparse: bool = False, **options: object) -> Maker:
    """One optimizer; a second one for sparse gradients where it takes none."""

    def make(model: nn.Module) -> Update:
        rest = [] if sparse else trained(model, sparse=True)
        optimizers = [kind(trained(model, sparse=None if sparse else False), **options)]
        if rest:
            optimizers.append(torch.optim.SparseAdam(rest, lr=0.01))
        return Update(optimizers=optimizers)

    return make


def sparse_adam(model: nn.Module) -> Update:
    optimizers: list[Optimizer] = [torch.optim.SGD(trained(model, sparse=False), lr=0.01)]
    if trained(model, sparse=True):
        optimizers.insert(0, torch.optim.SparseAdam(trained(model, sparse=True), lr=0.01))
    return Update(optimizers=optimizers)


def muon(model: nn.Module) -> Update:
    matrices = [p for p in trained(model, sparse=False) if p.dim() == 2 and not p.is_complex()]
    others = [p for p in trained(model, sparse=False) if all(p is not m for m in matrices)]
    sparse = trained(model, sparse=True)
    optimizers: list[Optimizer] = [torch.optim.Muon(matrices, lr=0.01)]
    optimizers += [torch.optim.AdamW(others, lr=0.01)] if others else []
    optimizers += [torch.optim.SparseAdam(sparse, lr=0.01)] if sparse else []
    return Update(optimizers=optimizers)


def tensor_lr(model: nn.Module) -> Update:
    lr = torch.tensor(0.01)  # of this training alone: a scheduler writes into it
    return of(torch.optim.AdamW, lr=lr)(model)


def several(model: nn.Module) -> Update:
    dense, sparse = trained(model, sparse=False), trained(model, sparse=True)
    half = len(dense) // 2
    groups = [{"params": dense[:1], "lr": 0.02}, {"params": dense[1:half], "weight_decay": 0.1}]
    return Update(
        optimizers=[
            torch.optim.AdamW(groups if half > 1 else dense[:half], lr=0.01),
            torch.optim.SGD([*dense[half:], *sparse], lr=0.01),
        ]
    )


def lbfgs(model: nn.Module) -> Update:
    optimizer = torch.optim.LBFGS(trained(model), lr=0.1, max_iter=2, line_search_fn=None)
    return Update(optimizers=[optimizer], way=Way.CLOSURE)


def sgd_by_closure(model: nn.Module) -> Update:
    return Update(optimizers=[torch.optim.SGD(trained(model), lr=0.01)], way=Way.CLOSURE)


def inside_backward(model: nn.Module) -> Update:
    optimizers = {p: torch.optim.SGD([p], lr=0.01, momentum=0.5) for p in trained(model)}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    return Update(optimizers=list(optimizers.values()), way=Way.BACKWARD)


OPTIMIZERS: dict[str, Maker] = {
    "sgd": of(torch.optim.SGD, sparse=True, lr=0.05),
    "momentum": of(torch.optim.SGD, sparse=True, lr=0.05, momentum=0.9),
    "nesterov": of(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "sgd_foreach": of(torch.optim.SGD, lr=0.05, momentum=0.9, foreach=True),
    "sgd_fused": of(torch.optim.SGD, lr=0.05, momentum=0.9, fused=True),
    "adam": of(torch.optim.Adam, lr=0.01),
    "amsgrad": of(torch.optim.Adam, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adam_maximize": of(torch.optim.Adam, lr=1e-3, maximize=True),
    "adamw": of(torch.optim.AdamW, lr=0.01),
    "adamw_foreach": of(torch.optim.AdamW, lr=0.01, foreach=True),
    "adamw_fused": of(torch.optim.AdamW, lr=0.01, fused=True),
    "adamw_tensor_lr": tensor_lr,
    "rmsprop": of(torch.optim.RMSprop, lr=0.01, momentum=0.9, centered=True),
    "adagrad": of(torch.optim.Adagrad, sparse=True, lr=0.01),
    "adadelta": of(torch.optim.Adadelta, lr=0.1),
    "adamax": of(torch.optim.Adamax, lr=0.01),
    "nadam": of(torch.optim.NAdam, lr=0.01),
    "radam": of(torch.optim.RAdam, lr=0.01),
    "rprop": of(torch.optim.Rprop, lr=0.01),
    "asgd": of(torch.optim.ASGD, lr=0.01),
    "sparse_adam": sparse_adam,
    "adafactor": of(torch.optim.Adafactor, lr=0.01),
    "muon": muon,
    "several": several,
    "lbfgs": lbfgs,
    "sgd_closure": sgd_by_closure,
    "inside_backward": inside_backward,
    "by_hand": lambda _: Update(way=Way.BY_HAND),
}
# A CPU captures no graphs.
CUDA_OPTIMIZERS: dict[str, Maker] = {
    "adam_capturable": of(torch.optim.Adam, lr=0.01, capturable=True),
    "adamw_capturable": of(torch.optim.AdamW, lr=0.01, capturable=True, foreach=True),
    "adamw_fused": of(torch.optim.AdamW, lr=0.01, fused=True),
    "nadam_capturable": of(torch.optim.NAdam, lr=0.01, capturable=True),
}
