"""Ten faults written after the rules were final, to see what the rules are worth."""

import torch
from cases import (
    INF,
    NAN,
    SAMPLED,
    Case,
    adam,
    in_gradient,
    in_input,
    in_state,
    in_weight,
    momentum,
    nadam,
    rmsprop,
    sgd,
    spot,
)
from torch import Tensor
from torch.nn import functional


def too_large(values: Tensor) -> Tensor:
    """A product that is no float32."""
    return values * 1e38 * 1e38


def standardized(values: Tensor) -> Tensor:
    """Divided by a standard deviation of zero."""
    same = 0 * values + 1
    return (same - same.mean(dim=-1, keepdim=True)) / same.std(dim=-1, keepdim=True)


def angle(values: Tensor) -> Tensor:
    """Itself; the derivative of acos at 1 is infinite."""
    return values + torch.acos(1 + 0 * values)


def entropy(values: Tensor) -> Tensor:
    """Itself; x log x at 0 is 0, its derivative is not finite."""
    return values + torch.xlogy(0 * values, 0 * values)


def per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Divided by a number of examples that is zero."""
    return functional.cross_entropy(logits, labels, reduction="sum") / (labels > 9).sum()


def cube_root(logits: Tensor, labels: Tensor) -> Tensor:
    """Finite, with the derivative of a cube root at zero."""
    return functional.cross_entropy(logits, labels) + (0 * logits.sum()).abs().pow(1 / 3)


FRESH = (
    Case(id="X1", kind="forward", architecture="cnn", what="output", name="spot1",
         before=spot("spot1", too_large), optimizer=adam),
    Case(id="X2", kind="forward", architecture="transformer", what="output", name="blocks.0.spot",
         before=spot("blocks.0.spot", standardized), optimizer=momentum),
    Case(id="X3", kind="backward", architecture="mlp", what="gradient", name="spot2",
         before=spot("spot2", angle), optimizer=rmsprop, clips=True),
    Case(id="X4", kind="backward", architecture="rnn", what="gradient", name="spot1",
         before=spot("spot1", entropy), optimizer=sgd, clears_late=True),
    Case(id="X5", kind="input", architecture="transformer", what="input", name="",
         before=in_input(1, INF), optimizer=momentum, clips=True),
    Case(id="X6", kind="loss", architecture="cnn", what="loss", name="", loss=per_example,
         optimizer=nadam, every=SAMPLED),
    Case(id="X7", kind="loss", architecture="embedding", what="loss", name="", loss=cube_root,
         optimizer=sgd),
    Case(id="X8", kind="state", architecture="embedding", what="optimizer_state",
         name="head.weight", after=in_state("head.weight", "exp_avg_sq", NAN), optimizer=nadam),
    Case(id="X9", kind="weight", architecture="transformer", what="weight", name="norm.weight",
         before=in_weight("norm.weight", INF), optimizer=momentum),
    Case(id="X10", kind="backward", architecture="cnn", what="gradient", name="conv2.bias",
         after=in_gradient("conv2.bias", INF), optimizer=rmsprop, clips=True),
)  # fmt: skip
