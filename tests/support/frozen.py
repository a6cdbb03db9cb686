"""Everything that a training determines, as plain values; equal if and only if the bits are."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


def frozen(value: object) -> object:
    """Bits, type and shape of tensors, in containers; anything else is left."""
    if isinstance(value, Tensor):
        return _frozen_tensor(value.detach())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return {str(key): frozen(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [frozen(entry) for entry in value]
    return value


def _frozen_tensor(values: Tensor) -> object:
    if values.layout is torch.sparse_coo:
        parts = (values._indices(), values._values())
        return ("sparse", values.shape, values.is_coalesced(), *map(_frozen_tensor, parts))
    flat = values.cpu().contiguous().resolve_conj().reshape(-1).view(torch.uint8)
    return (str(values.dtype), tuple(values.shape), values.stride(), flat.numpy().tobytes())


def random_states() -> dict[str, object]:
    """Of torch, numpy and python."""
    return {
        "torch": frozen(torch.get_rng_state()),
        "cuda": frozen(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else None,
        "numpy": frozen(np.random.get_state()),  # noqa: NPY002 - what loops use
        "python": random.getstate(),
    }


def settings_of_torch() -> dict[str, object]:
    """Switches that belong to the whole process."""
    return {
        "gradient": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "modes": torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack(),
    }


def state_of(model: nn.Module) -> dict[str, object]:
    """Weights, buffers, gradients, how often each was written, modes and hooks."""
    gradients = {f"{name}.grad": p.grad for name, p in model.named_parameters()}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), **gradients}
    return {
        "state": frozen(model.state_dict()),
        "buffers": frozen(dict(model.named_buffers())),
        "gradients": frozen(gradients),
        "versions": {n: t._version for n, t in tensors.items() if t is not None},
        "required": {name: p.requires_grad for name, p in model.named_parameters()},
        "tensor hooks": {
            name: len(p._backward_hooks or ()) for name, p in model.named_parameters()
        },
        "modules": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "hooks": {
            name: [len(getattr(module, kind)) for kind in HOOKS]
            for name, module in model.named_modules()
        },
    }


def differences(left: object, right: object, path: str = "") -> list[str]:
    """Paths of the leaves that differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = [*left, *(name for name in right if name not in left)]
        return [
            line
            for name in names
            for line in differences(left.get(name), right.get(name), f"{path}/{name}")
        ]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return [
            line
            for number, pair in enumerate(zip(left, right, strict=True))
            for line in differences(*pair, f"{path}/{number}")
        ]
    return [] if left == right else [path]
