"""Losses that users write by hand, for each kind of target; each takes a reduction."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, str], Tensor]
TINY = 1e-7


def reduced(each: Tensor, reduction: str) -> Tensor:
    """The mean or the sum over all samples."""
    return each.sum() if reduction == "sum" else each.mean()


def built_in_index(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Torch's own."""
    return functional.cross_entropy(out, target, reduction=reduction)


def picked_log(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The logarithm of a softmax, and one entry of each row."""
    shares = torch.softmax(out, -1).clamp_min(TINY)
    return reduced(-torch.log(shares[torch.arange(len(out)), target]), reduction)


def log_sum(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """What the right logit lacks to the smooth maximum of all."""
    return reduced(out.logsumexp(-1) - out.gather(-1, target[:, None])[:, 0], reduction)


def smoothed(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """A tenth of each label is spread over all classes."""
    n = out.shape[-1]
    soft = 0.9 * functional.one_hot(target, n) + 0.1 / n
    return reduced(-(soft * functional.log_softmax(out, -1)).sum(-1), reduction)


def focal(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Weighs examples that are nearly right less."""
    log_share = functional.log_softmax(out, -1).gather(-1, target[:, None])[:, 0]
    return reduced(-((1 - log_share.exp()) ** 2) * log_share, reduction)


def margins(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Each wrong logit has to be one below the right one."""
    short = (1 + out - out.gather(-1, target[:, None])).clamp_min(0)
    return reduced(short.sum(-1) - 1, reduction)


def built_in_yes(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Torch's own."""
    return functional.binary_cross_entropy_with_logits(out, target, reduction=reduction)


def yes_by_logs(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Two logarithms of a clipped sigmoid."""
    share = out.sigmoid().clamp(TINY, 1 - TINY)
    return reduced(-(target * share.log() + (1 - target) * (1 - share).log()), reduction)


def hinge(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The score has to be one on the right side."""
    return reduced((1 - (2 * target - 1) * out).clamp_min(0), reduction)


def built_in_value(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Torch's own."""
    return functional.mse_loss(out, target, reduction=reduction)


def squared(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The difference times itself."""
    return reduced((out - target) ** 2, reduction)


def absolute(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The difference without its sign."""
    return reduced((out - target).abs(), reduction)


def log_cosh(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Squared near zero, absolute far from it."""
    off = out - target
    return reduced(off + functional.softplus(-2 * off) - 0.6931, reduction)


def quantile(out: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Of the middle value: too low costs as much as too high."""
    off = target - out
    return reduced(torch.maximum(0.5 * off, -0.5 * off), reduction)


INDEX_LOSSES = (built_in_index, picked_log, log_sum, smoothed, focal, margins)
YES_LOSSES = (built_in_yes, yes_by_logs, hinge)
VALUE_LOSSES = (built_in_value, squared, absolute, log_cosh, quantile)
