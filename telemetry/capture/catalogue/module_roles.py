"""What a module is: its role, and the plain attributes worth keeping."""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeGuard

from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, conv, loss, normalization, rnn

from telemetry.json_values import Json

N_ATTRIBUTES = 32
N_ITEMS = 8
FSDP_BASES = 2  # FSDPLinear, FSDPModule, Linear, ...


class Role(StrEnum):
    """What a module does in a network."""

    LINEAR = "linear"
    CONV = "conv"
    NORM = "norm"
    ATTENTION = "attention"
    EMBEDDING = "embedding"
    RECURRENT = "recurrent"
    ACTIVATION = "activation"
    LOSS = "loss"
    OTHER = "other"


_BY_CLASS: tuple[tuple[tuple[type[nn.Module], ...], Role], ...] = (
    ((nn.Linear, nn.Bilinear), Role.LINEAR),
    ((conv._ConvNd,), Role.CONV),  # noqa: SLF001 - the common base has no public name
    (
        (
            batchnorm._NormBase,  # noqa: SLF001 - the same
            nn.LayerNorm,
            nn.GroupNorm,
            normalization.LocalResponseNorm,
        ),
        Role.NORM,
    ),
    ((nn.MultiheadAttention,), Role.ATTENTION),
    ((nn.Embedding, nn.EmbeddingBag), Role.EMBEDDING),
    ((rnn.RNNBase, rnn.RNNCellBase), Role.RECURRENT),
    ((loss._Loss,), Role.LOSS),  # noqa: SLF001 - the same
)
# Libraries bring their own classes; their names end alike.
_BY_NAME: tuple[tuple[str, Role], ...] = (
    ("attention", Role.ATTENTION),
    ("attn", Role.ATTENTION),
    ("norm", Role.NORM),
    ("linear", Role.LINEAR),
    ("embedding", Role.EMBEDDING),
    ("loss", Role.LOSS),
)


def role_of(module: nn.Module) -> Role:
    """The role, by class and else by the end of the class's name."""
    for classes, role in _BY_CLASS:
        if isinstance(module, classes):
            return role
    name = class_name(module)
    if _is_linear_of_transformers(module):
        return Role.LINEAR
    if type(module).__module__ == activation.__name__:
        return Role.ACTIVATION
    for ending, role in _BY_NAME:
        if name.lower().endswith(ending):
            return role
    return Role.OTHER


def class_name(module: nn.Module) -> str:
    """Name of the class that the user wrote; FSDP2 puts one of its own in front of it."""
    name = type(module).__name__
    bases = type(module).__mro__
    is_wrapped = len(bases) > FSDP_BASES and name == f"FSDP{bases[FSDP_BASES].__name__}"
    return name.removeprefix("FSDP") if is_wrapped else name


def fan_in(parameter: Tensor, module: nn.Module) -> int:
    """Elements per output row of a module's parameter; n of a 1-d tensor, at least 1."""
    shape = parameter.shape
    is_transposed = isinstance(module, conv._ConvTransposeNd)  # noqa: SLF001 - no public name
    is_transposed |= _is_linear_of_transformers(module)
    rows = shape[1 if is_transposed else 0] if len(shape) > 1 else 1
    return max(1, math.prod(shape) // max(1, rows))


def plain_attributes(module: nn.Module) -> Mapping[str, Json]:
    """Public numbers, flags and short tuples of numbers; texts of torch's own modules alone.

    Texts of other modules may be paths or tokens.
    """
    own = type(module).__module__.startswith("torch.nn.")
    result: dict[str, Json] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or name == "training" or len(result) == N_ATTRIBUTES:
            continue
        if _is_number(value) or (own and isinstance(value, str)):
            result[name] = value
        elif isinstance(value, tuple) and len(value) <= N_ITEMS and all(map(_is_number, value)):
            result[name] = [item for item in value if _is_number(item)]
    return result


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _is_linear_of_transformers(module: nn.Module) -> bool:
    """`transformers.pytorch_utils.Conv1D`: a linear layer whose weight is stored transposed."""
    return class_name(module) == "Conv1D" and not isinstance(module, conv._ConvNd)  # noqa: SLF001


class Together(nn.Module):
    """Models that are trained together and that no module of the script holds together."""
