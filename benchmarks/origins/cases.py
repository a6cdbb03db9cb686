"""Planted values that are not finite, and what must be named: 40 to work with, 10 kept apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from models import Operation
from torch import Tensor, nn
from torch.nn import functional

BAD_STEP = 7
SAMPLED, UNSAMPLED = 7, 5  # `every`: step 7 is sampled or not
NAN, INF = float("nan"), float("inf")


@dataclass(slots=True, kw_only=True)
class Loop:
    """What a fault may touch in the bad step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    inputs: tuple[Tensor, ...] = ()
    labels: Tensor = field(default_factory=lambda: torch.zeros(0))


adam = partial(torch.optim.Adam, lr=1e-3)
adamw = partial(torch.optim.AdamW, lr=1e-3)
sgd = partial(torch.optim.SGD, lr=1e-2)
momentum = partial(torch.optim.SGD, lr=1e-2, momentum=0.9)
rmsprop = partial(torch.optim.RMSprop, lr=1e-3)
adagrad = partial(torch.optim.Adagrad, lr=1e-2)
nadam = partial(torch.optim.NAdam, lr=1e-3)

Act = Callable[[Loop], None]
Loss = Callable[[Tensor, Tensor], Tensor]


def nothing(loop: Loop) -> None:
    """Leave all as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training with a fault in step 7.

    Attributes:
        kind: input, forward, backward, loss, state or weight.
        architecture: Key of `ARCHITECTURES`.
        what: The kind of value that comes first.
        name: Module (input, output), parameter, or "" for the loss and the model itself.
        before: Done before the forward of the step.
        after: Done after its backward pass.
        loss: Used in the step instead of the cross entropy.
        optimizer: Makes it.
        every: Cadence of the samples.
        clips: Whether the norm of the gradients is clipped.
        clears_late: Whether gradients are cleared after the step instead of before the backward.
    """

    id: str
    kind: str
    architecture: str
    what: str
    name: str
    before: Act = nothing
    after: Act = nothing
    loss: Loss = functional.cross_entropy
    optimizer: Callable[..., torch.optim.Optimizer] = adamw
    every: int = UNSAMPLED
    clips: bool = False
    clears_late: bool = False


# --- what breaks ----------------------------------------------------------------------------------


def log_of_zero(values: Tensor) -> Tensor:
    """Minus infinity where a value is not positive."""
    return torch.log(values.clamp(min=0))


def root_of_negative(values: Tensor) -> Tensor:
    """NaN where a value is negative."""
    return torch.sqrt(values - 1)


def zero_by_zero(values: Tensor) -> Tensor:
    """The mean over an empty mask."""
    mask = torch.zeros_like(values)
    return values + (values * mask).sum() / mask.sum()


def overflow(values: Tensor) -> Tensor:
    """Exp of what is too large."""
    return torch.exp(1000 * values.abs() + 100)


def masked_row(values: Tensor) -> Tensor:
    """A softmax over nothing."""
    return torch.softmax(torch.full_like(values, -INF), dim=-1) + values


def root_at_zero(values: Tensor) -> Tensor:
    """Itself; the derivative of the square root at 0 is infinite."""
    return values + torch.sqrt(0 * values)


def where_trap(values: Tensor) -> Tensor:
    """Itself; the branch that was not taken has a derivative of 0 / 0."""
    return torch.where(values > 1e9, torch.log(0 * values), values)


def norm_by_hand(values: Tensor) -> Tensor:
    """Itself; the norm of a zero vector, without an epsilon."""
    return values + (0 * values).square().sum(dim=-1, keepdim=True).sqrt()


def power_at_zero(values: Tensor) -> Tensor:
    """Itself; the derivative of x to the 0.3 at 0 is infinite."""
    return values + (0 * values).pow(0.3)


class _NanDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        del ctx
        return values * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        del ctx
        return gradient / torch.zeros_like(gradient)


def custom_function(values: Tensor) -> Tensor:
    """Twice itself, with a derivative that was written wrongly."""
    result: Tensor = _NanDerivative.apply(values)
    return result


# --- faults ---------------------------------------------------------------------------------------


def spot(path: str, operation: Operation) -> Act:
    """Break a spot."""

    def act(loop: Loop) -> None:
        place = loop.model.get_submodule(path)
        setattr(place, "operation", operation)  # noqa: B010 - of a Spot

    return act


def in_input(index: int, value: float) -> Act:
    """One element of an input."""

    def act(loop: Loop) -> None:
        loop.inputs[index].view(-1)[3] = value

    return act


def in_weight(name: str, value: float) -> Act:
    """One element of a parameter."""

    def act(loop: Loop) -> None:
        loop.model.get_parameter(name).data.view(-1)[1] = value

    return act


def in_gradient(name: str, value: float) -> Act:
    """What a hook on one parameter might do."""

    def act(loop: Loop) -> None:
        gradient = loop.model.get_parameter(name).grad
        if gradient is not None:
            gradient.view(-1)[0] = value

    return act


def in_state(name: str, key: str, value: float) -> Act:
    """One element of an optimizer's state."""

    def act(loop: Loop) -> None:
        loop.optimizer.state[loop.model.get_parameter(name)][key].view(-1)[0] = value

    return act


def learning_rate(value: float) -> Act:
    """What a broken schedule does."""

    def act(loop: Loop) -> None:
        loop.optimizer.param_groups[0]["lr"] = value

    return act


def in_target(logits: Tensor, labels: Tensor) -> Tensor:
    """A squared error with a target that is not there."""
    target = functional.one_hot(labels, 4).float()
    target[2, 1] = NAN
    return functional.mse_loss(logits, target)


def log_of_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """A cross entropy by hand, of probabilities that underflow."""
    shares = torch.softmax(400 * logits, dim=-1)
    return -torch.log(shares[torch.arange(len(labels)), labels]).mean() * 0.0


def empty_mean(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over no examples."""
    return functional.cross_entropy(logits, labels, reduction="none")[labels > 9].mean()


def root_of_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Finite, with the derivative of a root at zero."""
    return functional.cross_entropy(logits, labels) + torch.sqrt(0 * logits.sum())


def norm_of_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Finite, with a distance of zero."""
    own = (logits - logits.detach()).square().sum(dim=-1)
    return functional.cross_entropy(logits, labels) + own.sqrt().mean()


def infinite_weight(logits: Tensor, labels: Tensor) -> Tensor:
    """A class weight of 1 / 0."""
    weight = torch.tensor([1.0, INF, 1.0, 1.0])
    return functional.cross_entropy(logits, labels, weight=weight)


# --- the cases ------------------------------------------------------------------------------------


def _forward(number: int, architecture: str, path: str, operation: Operation, **more: Any) -> Case:  # noqa: ANN401
    return Case(
        id=f"F{number}", kind="forward", architecture=architecture, what="output", name=path,
        before=spot(path, operation), **more,
    )  # fmt: skip


def _backward(number: int, architecture: str, path: str, operation: Operation, **more: Any) -> Case:  # noqa: ANN401
    return Case(
        id=f"B{number}", kind="backward", architecture=architecture, what="gradient", name=path,
        before=spot(path, operation), **more,
    )  # fmt: skip


def _weight(number: int, architecture: str, name: str, value: float, **more: Any) -> Case:  # noqa: ANN401
    return Case(
        id=f"W{number}", kind="weight", architecture=architecture, what="weight", name=name,
        before=in_weight(name, value), **more,
    )  # fmt: skip


def _state(number: int, architecture: str, name: str, act: Act, **more: Any) -> Case:  # noqa: ANN401
    what = more.pop("what", "optimizer_state")
    return Case(
        id=f"S{number}", kind="state", architecture=architecture, what=what, name=name, after=act,
        **more,
    )  # fmt: skip


def _loss(number: int, architecture: str, loss: Loss, **more: Any) -> Case:  # noqa: ANN401
    return Case(
        id=f"L{number}", kind="loss", architecture=architecture, what="loss", name="", loss=loss,
        **more,
    )  # fmt: skip


def _input(number: int, architecture: str, index: int, value: float, **more: Any) -> Case:  # noqa: ANN401
    return Case(
        id=f"I{number}", kind="input", architecture=architecture, what="input", name="",
        before=in_input(index, value), **more,
    )  # fmt: skip


CASES = (
    _input(1, "mlp", 0, NAN, optimizer=sgd),
    _input(2, "cnn", 0, INF, every=SAMPLED),
    _input(3, "rnn", 0, -INF, optimizer=momentum),
    _input(4, "transformer", 1, NAN, every=SAMPLED, optimizer=adam, clips=True),
    _input(5, "embedding", 2, NAN, optimizer=rmsprop),
    _forward(1, "mlp", "spot1", log_of_zero, every=SAMPLED),
    _forward(2, "mlp", "spot2", zero_by_zero, optimizer=sgd),
    _forward(3, "cnn", "spot2", root_of_negative, optimizer=momentum),
    _forward(4, "rnn", "spot1", overflow, every=SAMPLED, optimizer=adam),
    _forward(5, "rnn", "spot2", masked_row, optimizer=rmsprop),
    _forward(6, "transformer", "blocks.0.attention.scores", zero_by_zero),
    _forward(7, "transformer", "blocks.1.spot", root_of_negative, every=SAMPLED, clips=True),
    _forward(8, "embedding", "spot1", log_of_zero, optimizer=adagrad, clears_late=True),
    _backward(1, "mlp", "spot1", root_at_zero, optimizer=sgd),
    _backward(2, "mlp", "spot2", where_trap, every=SAMPLED),
    _backward(3, "cnn", "spot1", custom_function, optimizer=momentum),
    _backward(4, "cnn", "spot2", power_at_zero, clips=True),
    _backward(5, "rnn", "spot2", norm_by_hand, every=SAMPLED, optimizer=rmsprop),
    _backward(6, "transformer", "blocks.0.spot", where_trap, optimizer=adam, clears_late=True),
    _backward(7, "transformer", "blocks.1.attention.scores", root_at_zero, clips=True),
    _backward(8, "embedding", "spot2", custom_function, every=SAMPLED, optimizer=sgd),
    Case(
        id="B9", kind="backward", architecture="embedding", what="gradient", name="items.weight",
        after=in_gradient("items.weight", NAN), optimizer=adam,
    ),
    _loss(1, "mlp", in_target, optimizer=sgd),
    _loss(2, "cnn", log_of_probability, every=SAMPLED),
    _loss(3, "rnn", empty_mean, optimizer=momentum, clips=True),
    _loss(4, "transformer", root_of_loss, optimizer=adam),
    _loss(5, "embedding", infinite_weight, every=SAMPLED, optimizer=adagrad),
    _loss(6, "mlp", norm_of_loss, clips=True),
    _state(1, "mlp", "fc2.weight", in_state("fc2.weight", "exp_avg", NAN), optimizer=adam),
    _state(2, "cnn", "conv2.weight", in_state("conv2.weight", "exp_avg_sq", -1.0),
           every=SAMPLED),
    _state(3, "rnn", "gru.weight_hh_l0", in_state("gru.weight_hh_l0", "momentum_buffer", INF),
           optimizer=momentum),
    _state(4, "transformer", "blocks.0.up.weight",
           in_state("blocks.0.up.weight", "square_avg", NAN), optimizer=rmsprop),
    _state(5, "embedding", "mix.bias", in_state("mix.bias", "exp_avg", INF), every=SAMPLED,
           clears_late=True),
    _state(6, "mlp", "*", learning_rate(NAN), what="update", optimizer=sgd),
    _state(7, "transformer", "*", learning_rate(INF), what="update", every=SAMPLED),
    _weight(1, "mlp", "fc2.weight", NAN, optimizer=adam),
    _weight(2, "cnn", "norm1.weight", INF, every=SAMPLED),
    _weight(3, "rnn", "gru.bias_hh_l0", NAN, optimizer=momentum),
    _weight(4, "transformer", "blocks.1.down.weight", INF, optimizer=rmsprop, clips=True),
    _weight(5, "embedding", "users.weight", NAN, every=SAMPLED, optimizer=sgd),
)  # fmt: skip
