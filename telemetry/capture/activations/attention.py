"""Logits of attention: how large they are, and how many keys each head attends to.

Softmax over the keys is looked at where it happens: from its input, or, where one fused operation
hides it, from query times key of rows spread over the sequence.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from telemetry.capture.activations.records import Measures
from telemetry.capture.catalogue.module_roles import Role, role_of
from telemetry.capture.tensors.host import is_known_finite, on_host

MAX_ROWS = 64  # of queries, as attention_logits needs them
MIN_ROWS = 8  # stay where heads and keys are many
# Logits of one call: fewer examples and rows down to the first limit, fewer heads down to the
# second, but all keys of 8 rows of one head. 2^16 take 0.3 ms on one thread.
WANTED_SCORES = 1 << 16
MAX_SCORES = 1 << 18
# Masks are -inf, the smallest number of the dtype, or -1e4 (for float16); biases that fall with the
# distance reach -0.5 per key, so -4096 over 8,192 keys.
MASK_LEVEL = -5000.0
NO_WEIGHT = -1e30  # stands for a logit that does not count
MIN_KEYS = 2  # one key alone has an entropy of ln 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedAttention:
    """Inputs of one fused operation.

    Attributes:
        query: Shape (batch, n_heads, n_rows, width).
        key: Shape (batch, n_groups, n_keys, width); a group is shared by n_heads / n_groups heads.
        mask: Added to the logits, or true where they count; broadcasts to
            (batch, n_heads, n_rows, n_keys).
        is_causal: Row i sees the keys up to i alone.
        scale: Of query times key; None: 1 / sqrt(width).
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None = None
    is_causal: bool = False
    scale: float | None = None

    @property
    def values(self) -> Tensor:
        """What the logits are computed from."""
        return self.query


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxInput:
    """Input of a softmax over the last dimension.

    Attributes:
        scores: Shape (..., n_heads, n_rows, n_keys), masked entries very negative.
        is_product: A batched matrix product of that many elements went before.
    """

    scores: Tensor
    is_product: bool

    @property
    def values(self) -> Tensor:
        """The logits."""
        return self.scores


AttentionInputs: TypeAlias = FusedAttention | SoftmaxInput


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMeasures:
    """What was measured of `n` logits of `n_heads` heads, masked ones included in `n`."""

    measures: Measures[Tensor]
    n: int
    n_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strides:
    """Which examples, heads and rows of attention are looked at."""

    batch: int
    heads: int
    rows: int
    first_row: int

    @classmethod
    def of(cls, n_batch: int, n_heads: int, n_rows: int, n_keys: int) -> "_Strides":
        fitting_rows = WANTED_SCORES // (n_heads * n_keys)
        rows = _stride(n_rows, min(MAX_ROWS, max(MIN_ROWS, fitting_rows)))
        per_head = -(-n_rows // rows) * n_keys
        return cls(
            batch=_stride(n_batch, WANTED_SCORES // (n_heads * per_head)),
            heads=_stride(n_heads, MAX_SCORES // per_head),
            rows=rows,
            first_row=(n_rows - 1) % rows,  # so that the last row, which sees most, is among them
        )


def measure_attention(inputs: AttentionInputs, module: nn.Module) -> AttentionMeasures | None:
    """What one operation in the forward of a module read; None if it is no attention.

    A softmax is one where a batched product of its size went before, or the module says so: that
    over the classes of a token or the experts of a mixture reads the output of a linear layer.
    """
    if isinstance(inputs, FusedAttention):
        return measure_fused(inputs)
    if not inputs.is_product and role_of(module) is not Role.ATTENTION:
        return None
    return measure_softmax(
        inputs, module.num_heads if isinstance(module, nn.MultiheadAttention) else None
    )


def measure_fused(inputs: FusedAttention) -> AttentionMeasures | None:
    """Extremes and entropies of sampled attention logits; None for unknown shapes."""
    query, key = inputs.query, inputs.key
    if query.dim() == 3 and key.dim() == 3:  # noqa: PLR2004 - without a dimension of heads
        query, key = query.unsqueeze(0), key.unsqueeze(0)
    if query.dim() != 4 or key.dim() != 4 or not _fit(query, key):  # noqa: PLR2004
        return None
    n_batch, n_heads, n_rows, width = query.shape
    n_groups, n_keys = key.shape[1:3]
    group = n_heads // n_groups
    strides = _Strides.of(n_batch, n_groups, n_rows, group * n_keys)
    rows = slice(strides.first_row, None, strides.rows)
    key = key[:: strides.batch, :: strides.heads]
    query = _grouped(query[:: strides.batch, :, rows], group)[:, :: strides.heads]
    n_batch, n_groups, _, n_rows, _ = query.shape
    query, key = _at_least_float32(query), _at_least_float32(key)
    scale = 1 / math.sqrt(width) if inputs.scale is None else inputs.scale
    with torch.autocast(query.device.type, enabled=False):
        product = query.reshape(n_batch, n_groups, group * n_rows, width) @ key.mT
    scores = product.mul_(scale).view(n_batch, n_groups * group, n_rows, n_keys)
    kept = None
    if inputs.mask is not None:
        shape = (*inputs.query.shape[:-1], n_keys)
        mask = inputs.mask.detach().expand(shape if inputs.query.dim() == 4 else (1, *shape))  # noqa: PLR2004
        mask = _grouped(mask[:: strides.batch, :, rows], group)[:, :: strides.heads].flatten(1, 2)
        kept = mask if mask.dtype is torch.bool else mask > MASK_LEVEL
        scores = scores if mask.dtype is torch.bool else scores + mask
    if inputs.is_causal:
        places = torch.arange(max(n_keys, inputs.query.shape[-2]), device=scores.device)
        causal = places[:n_keys] <= places[: inputs.query.shape[-2]][rows].unsqueeze(-1)
        kept = causal if kept is None else kept & causal
    return _measured(scores, kept, read=kept)


def measure_softmax(inputs: SoftmaxInput, n_heads: int | None = None) -> AttentionMeasures:
    """Extremes and entropies of a sample of the logits that a softmax read.

    Args:
        inputs: Of at least two dimensions.
        n_heads: Heads that are merged with the batch in the dimension before the last two.
    """
    scores = inputs.scores
    while scores.dim() < 4:  # noqa: PLR2004 - batch, heads, rows, keys
        scores = scores.unsqueeze(0)
    scores = scores.flatten(0, -4)
    if n_heads is not None and scores.shape[0] == 1 and scores.shape[1] % n_heads == 0:
        scores = scores.reshape(-1, n_heads, *scores.shape[2:])
    strides = _Strides.of(*scores.shape)
    rows = slice(strides.first_row, None, strides.rows)
    scores = _at_least_float32(scores[:: strides.batch, :: strides.heads, rows])
    if on_host(scores) and scores.amin().numpy() > MASK_LEVEL:
        return _measured(scores, None)
    highs = scores.amax(-1, keepdim=True)
    # What lies that far below the largest of its row has no weight, whether it is masked or not.
    return _measured(scores, (scores > highs + MASK_LEVEL) & (highs > MASK_LEVEL))


def _measured(
    scores: Tensor, kept: Tensor | None, *, read: Tensor | None = None
) -> AttentionMeasures:
    """What scores of shape (batch, heads, rows, keys) tell.

    Args:
        scores: Logits.
        kept: Which of them count; None: all.
        read: Which a softmax sees, the very negative ones among them; None: all.
    """
    low, high = torch.aminmax(scores)
    n_valid = torch.full((1,), scores.shape[-1], device=scores.device)
    n_nan = n_inf = None
    is_finite = is_known_finite(high - low)
    if not is_finite:
        seen = scores if read is None else torch.where(read, scores, 0.0)
        n_nan, n_inf = seen.isnan().sum(), seen.isposinf().sum()  # -inf is a mask
        finite = torch.isfinite(scores)
        kept = finite if kept is None else finite & kept
    if kept is not None:
        if is_finite and kept.numel() < scores.numel():
            # A sum takes a seventh of the time of `where`, but an infinity would not be replaced.
            penalty = torch.where(kept, 0.0, NO_WEIGHT).to(scores.dtype)
            low = (scores - penalty).amin()
            scores = scores + penalty
        else:
            low = torch.where(kept, scores, -NO_WEIGHT).amin()
            scores = torch.where(kept, scores, NO_WEIGHT)
        high = scores.amax()
        low = torch.where(low < -NO_WEIGHT / 2, low, torch.inf)
        high = torch.where(high > NO_WEIGHT / 2, high, -torch.inf)
        n_valid = kept.sum(-1)
    # Nothing is infinite in here, so that 0 * log 0 is 0. `special.entr` takes four times as long;
    # the `exp` of such logarithms as those of keys that do not count takes eight times as long as
    # a second softmax.
    entropies = torch.linalg.vecdot(scores.softmax(-1), scores.log_softmax(-1)).neg()
    entropies = entropies / n_valid.log()
    counted = (n_valid >= MIN_KEYS).expand(entropies.shape)
    return AttentionMeasures(
        measures=Measures(
            low=low,
            high=high,
            n_nan=n_nan,
            n_inf=n_inf,
            head_entropies=torch.where(counted, entropies, 0.0).sum((0, 2)),
            head_rows=counted.sum((0, 2), dtype=entropies.dtype),
        ),
        n=scores.numel(),
        n_heads=scores.shape[1],
    )


def _grouped(values: Tensor, group: int) -> Tensor:
    """Heads in groups: shape (batch, n_groups, group, n_rows, width)."""
    return values.reshape(values.shape[0], -1, group, *values.shape[2:])


def _fit(query: Tensor, key: Tensor) -> bool:
    return (
        query.shape[0] == key.shape[0]
        and query.shape[-1] == key.shape[-1]
        and query.shape[1] % key.shape[1] == 0
        and min(query.numel(), key.numel()) > 0
    )


def _stride(length: int, wanted: int) -> int:
    """Every how many-th of `length` things leave at most `wanted`, one at least."""
    return -(-length // max(1, min(wanted, length)))


def _at_least_float32(values: Tensor) -> Tensor:
    values = values.detach()
    return values.float() if values.dtype in {torch.float16, torch.bfloat16} else values
