"""What an optimizer's rule used in a step: learning rates, decay, epsilon, bias corrections."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import Number, entry_of, number_of, plain_number
from telemetry.capture.catalogue.optimizer_rules import (
    has_decoupled_decay,
    implies_update,
    is_adam_type,
    is_plain_sgd,
)
from telemetry.capture.parameters.blocks import ParameterBlock
from telemetry.capture.parameters.statistic import OptimizerSettings

State: TypeAlias = Mapping[str, object]
IndexArray: TypeAlias = npt.NDArray[np.int64]

# Keys that several optimizers of torch share and that mean the same in all of them.
SECOND_MOMENTS = ("max_exp_avg_sq", "exp_avg_sq")  # AMSGrad divides by the former
FIRST_MOMENTS = ("exp_avg", "momentum_buffer")


def states_of(optimizer: Optimizer, block: ParameterBlock) -> list[State]:
    """What the optimizer keeps of each parameter of a block; empty before its first step."""
    # The state is a defaultdict: asking it by [] would add to it.
    return [optimizer.state.get(parameter, {}) for parameter in block.parameters]


def state_tensor(state: State, keys: Sequence[str]) -> Tensor | None:
    """The first of these entries in the optimizer's state of a parameter."""
    for key in keys:
        value = state.get(key)
        if isinstance(value, Tensor):
            return value
    return None


def settings_of(
    optimizer: Optimizer,
    block: ParameterBlock,
    states: Sequence[State],
    *,
    loss_scale: Tensor | None,
) -> OptimizerSettings:
    """The settings of a block's parameters, on its device, without waiting for it.

    Args:
        optimizer: Its parameter groups are read now.
        block: Some of its parameters.
        states: What it keeps of them, see `states_of`.
        loss_scale: Factor still in the gradients, 0-d.
    """
    decoupled = has_decoupled_decay(optimizer)
    lr = per_parameter(optimizer, block, "lr")
    decay = None if decoupled is None else per_parameter(optimizer, block, "weight_decay")
    implied = block.low_precision is not None and implies_update(optimizer)
    return OptimizerSettings(
        decoupled_decay=lr * decay if decay is not None and decoupled else None,
        coupled_decay=decay if decay is not None and not decoupled else None,
        lr=lr,
        epsilon=per_parameter(optimizer, block, "eps") if is_adam_type(optimizer) else None,
        first_correction=bias_correction(optimizer, block, states, beta=0) if implied else None,
        low_precision=block.low_precision,
        is_plain_sgd=block.low_precision is not None and is_plain_sgd(optimizer),
        loss_scale=loss_scale,
    )


def bias_correction(
    optimizer: Optimizer, block: ParameterBlock, states: Sequence[State], *, beta: int
) -> Tensor:
    """1 - beta^t of each parameter, float32, shape (n_parameters,); 1 before its first step."""
    counts = [_step_count(state) for state in states]
    if len({count.device for count in counts}) > 1:
        counts = [count.to(counts[0].device, non_blocking=True) for count in counts]
    steps = torch.stack(counts)
    dtype = torch.float32 if steps.device.type == "mps" else torch.float64
    betas = [entry_of(group, "betas", beta) for group in optimizer.param_groups]
    powers = spread(betas, block.groups, steps.device).to(dtype) ** steps.to(dtype)
    return (1 - powers).to(block.segments.device, torch.float32, non_blocking=True)


def per_parameter(optimizer: Optimizer, block: ParameterBlock, key: str) -> Tensor:
    """A number of each parameter's group, float32, shape (n_parameters,); NaN for what is none."""
    values = [number_of(group, key) for group in optimizer.param_groups]
    return spread(values, block.groups, block.segments.device).float()


def spread(values: Sequence[Number | None], groups: IndexArray, device: torch.device) -> Tensor:
    """A value of each group as one value per parameter, shape (n_parameters,).

    NaN where a group has none. float64 where the values are numbers, else float32.
    """
    known = [torch.nan if value is None else value for value in values]
    if not any(isinstance(value, Tensor) for value in known):
        host = torch.from_numpy(np.array(known, dtype=np.float64)[groups])
        return (host.float() if device.type == "mps" else host).to(device, non_blocking=True)
    scalars = [
        v.detach() if isinstance(v, Tensor) else torch.tensor(v, device="cpu") for v in known
    ]
    moved = [s.reshape(()).to(device, torch.float32, non_blocking=True) for s in scalars]
    index = torch.from_numpy(groups).to(device, non_blocking=True)
    return torch.stack(moved).index_select(0, index)


def _step_count(state: State) -> Tensor:
    count = plain_number(state.get("step"))
    if isinstance(count, Tensor):
        return count.reshape(()) if count.dim() else count
    # A large count stands for "no state": its correction is 1.
    known = torch.inf if count is None else float(count)
    return torch.tensor(known, dtype=torch.float32, device="cpu")
