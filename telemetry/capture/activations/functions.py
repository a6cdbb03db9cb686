"""Activation functions: as modules by their type, as operations by a dispatch mode.

The mode stands around an outermost forward on sampled steps and sees what autograd and autocast
have left of `F.relu` and its like, in place or not. It works under compiled regions, whose
operations it does not see.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture.activations.attention import AttentionInputs, FusedAttention, SoftmaxInput
from telemetry.capture.activations.statistics import Family
from telemetry.capture.losses.tape import Operation, Tape

Look: TypeAlias = Callable[[Sequence[object], Mapping[str, object], object], None]

ACTIVATION_MODULES: dict[type[nn.Module], Family] = {
    nn.ReLU: Family.RELU,
    nn.ReLU6: Family.RELU,
    nn.LeakyReLU: Family.SMOOTH,
    nn.PReLU: Family.SMOOTH,
    nn.RReLU: Family.SMOOTH,
    nn.GELU: Family.SMOOTH,
    nn.SiLU: Family.SMOOTH,
    nn.Mish: Family.SMOOTH,
    nn.ELU: Family.SMOOTH,
    nn.CELU: Family.SMOOTH,
    nn.SELU: Family.SMOOTH,
    nn.Hardswish: Family.SMOOTH,
    nn.Softplus: Family.SMOOTH,
    nn.Tanh: Family.TANH,
    nn.Sigmoid: Family.SIGMOID,
}
# Own classes of libraries, such as NewGELUActivation, whose inner tanh is no activation of its own.
ACTIVATION_WORDS = ("gelu", "silu", "swish", "mish", "relu")
DISPATCH_S = 12e-6  # measured: an operation costs that much more under a mode
RECURRENT = (nn.RNNBase, nn.RNNCellBase)

# Site name and family by operation; an in-place twin has the name of the other.
OPERATIONS = {
    "relu": ("relu", Family.RELU),
    "relu6": ("relu6", Family.RELU),
    "leaky_relu": ("leaky_relu", Family.SMOOTH),
    "_prelu_kernel": ("prelu", Family.SMOOTH),
    "rrelu_with_noise": ("rrelu", Family.SMOOTH),
    "gelu": ("gelu", Family.SMOOTH),
    "silu": ("silu", Family.SMOOTH),
    "mish": ("mish", Family.SMOOTH),
    "elu": ("elu", Family.SMOOTH),
    "celu": ("celu", Family.SMOOTH),
    "hardswish": ("hardswish", Family.SMOOTH),
    "softplus": ("softplus", Family.SMOOTH),
    "glu": ("glu", Family.SMOOTH),
    "tanh": ("tanh", Family.TANH),
    "sigmoid": ("sigmoid", Family.SIGMOID),
}
# max(x, 0) written as a clamp; only with a lower bound of zero is it a ReLU.
CLAMPS = {"clamp": "relu", "clamp_min": "relu", "hardtanh": "relu6"}
FUSED_ATTENTIONS = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
    "scaled_dot_product_attention",  # in inference mode, where nothing decomposes it
)
SOFTMAXES = ("_softmax", "_safe_softmax")
MULTIPLICATIONS = (torch.ops.aten.mul.Tensor, torch.ops.aten.mul_.Tensor)
# On a CPU a dropout multiplies with a mask; in inference mode nothing decomposes it.
DEFAULT_SHARE = 0.5  # what is the default is left out of the arguments
MASKS = (torch.ops.aten.bernoulli_.float,)
DROPOUTS = (
    "dropout",
    "dropout_",
    "native_dropout",
    "feature_dropout",
    "feature_dropout_",
    "alpha_dropout",
    "alpha_dropout_",
    "feature_alpha_dropout",
    "feature_alpha_dropout_",
)
PRODUCTS = ("bmm", "baddbmm", "matmul")
N_PRODUCTS = 4  # between a product and its softmax: what rotary or relative positions need
MIN_ATTENTION_DIMS = 3  # batch or heads, queries, keys


def module_family(module: nn.Module) -> Family | None:
    """The family of a module that is an activation function; None for any other."""
    for kind, family in ACTIVATION_MODULES.items():
        if isinstance(module, kind):
            return family
    name = type(module).__name__.lower()
    is_bare = next(module.children(), None) is None and next(module.parameters(), None) is None
    return Family.SMOOTH if is_bare and any(w in name for w in ACTIVATION_WORDS) else None


def _overloads(names: Iterable[str]) -> Iterator[Operation]:
    """Default overloads of the operations that this torch has."""
    for name in names:
        packet = getattr(torch.ops.aten, name, None)
        if packet is not None:
            yield packet.default


def modes_are_safe() -> bool:
    """Whether a dispatch mode can stand around a forward of this process.

    Before torch offered `supports_higher_order_operators`, a higher-order operator under a mode
    that it did not know raised; flex_attention is the one that eager code calls.
    """
    known = hasattr(TorchDispatchMode, "supports_higher_order_operators")
    return known or "torch.nn.attention.flex_attention" not in sys.modules


class OperationEvents(Protocol):
    """Who is told of operations."""

    def activation(self, name: str, family: Family, result: Tensor, source: object) -> None:
        """A functional activation of this site name was computed from the source."""
        ...

    def dropped(self, result: Tensor) -> None:
        """A dropout is on; its result, or the mask that it multiplies with."""
        ...

    def product(self, factors: Sequence[object], result: object) -> None:
        """Two things were multiplied element by element."""
        ...

    def shifted(self, values: object, shift: object, result: object) -> None:
        """Something was added to values."""
        ...

    def attention(self, inputs: AttentionInputs) -> None:
        """An attention, or a softmax over the last dimension, read this."""
        ...


class ActivationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells an observer each functional activation and attention, after it ran.

    Args:
        events: The observer.
        contained: A block that keeps what goes wrong in here from the operation that ran.
        tape: Told every operation, for the loss is among them.

    Attributes:
        cost_s: Seconds of processor time spent in here, the operations themselves left out.
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        events: OperationEvents,
        contained: AbstractContextManager[object],
        tape: Tape | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape = tape or Tape()
        self._contained = contained
        self.cost_s = 0.0
        self._events = events
        # Sizes of the last batched matrix products: a softmax of that size is one over keys.
        self._product_sizes: deque[int] = deque(maxlen=N_PRODUCTS)
        self._looks: dict[Operation, Look] = {}
        for name, (site, family) in OPERATIONS.items():
            look = self._activation(site, family)
            self._looks |= dict.fromkeys(_overloads((name, f"{name}_")), look)
        for name, site in CLAMPS.items():
            look = self._clamp(site)
            self._looks |= dict.fromkeys(_overloads((name, f"{name}_")), look)
        self._looks |= dict.fromkeys(MASKS, self._mask)
        self._looks |= dict.fromkeys(_overloads(DROPOUTS), self._dropout)
        self._looks |= dict.fromkeys(MULTIPLICATIONS, self._multiplied)
        self._looks[torch.ops.aten.add.Tensor] = self._added
        self._looks |= dict.fromkeys(_overloads(PRODUCTS), self._product)
        self._looks |= {op: self._attention(op) for op in _overloads(FUSED_ATTENTIONS)}
        self._looks |= dict.fromkeys(_overloads(SOFTMAXES), self._softmax)
        self._looks[torch.ops.aten.softmax.int] = self._softmax

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile compile and run as it does without this mode."""
        return True

    def __torch_dispatch__(
        self,
        func: Operation,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operation as it is; look at what it read or returned."""
        del types
        result = func(*args, **(kwargs or {}))
        started_s = time.thread_time()
        look = self._looks.get(func)
        with self._contained:
            self._tape.add(func, args, kwargs or {}, result)
            if look is not None:
                look(args, kwargs or {}, result)
        self.cost_s += time.thread_time() - started_s + DISPATCH_S
        return result

    def _activation(self, site: str, family: Family) -> Look:
        def look(args: Sequence[object], kwargs: Mapping[str, object], result: object) -> None:
            del kwargs
            if isinstance(result, Tensor):
                self._events.activation(site, family, result, args[0])

        return look

    def _clamp(self, site: str) -> Look:
        def look(args: Sequence[object], kwargs: Mapping[str, object], result: object) -> None:
            low = _argument(args, kwargs, 1, "min", "min_val")
            if isinstance(low, int | float) and low == 0 and isinstance(result, Tensor):
                self._events.activation(site, Family.RELU, result, args[0])

        return look

    def _mask(self, args: Sequence[object], kwargs: Mapping[str, object], result: object) -> None:
        share = _argument(args, kwargs, 1, "p")
        self._drops(DEFAULT_SHARE if share is None else share, result)

    def _dropout(
        self, args: Sequence[object], kwargs: Mapping[str, object], result: object
    ) -> None:
        if _argument(args, kwargs, 2, "train") is not False:
            values = result[0] if isinstance(result, tuple) else result
            self._drops(_argument(args, kwargs, 1, "p"), values)

    def _drops(self, share: object, values: object) -> None:
        """A share of one number for all elements: others draw samples, and drop nothing."""
        if isinstance(share, float) and 0 < share < 1 and isinstance(values, Tensor):
            self._events.dropped(values)

    def _multiplied(
        self, args: Sequence[object], kwargs: Mapping[str, object], result: object
    ) -> None:
        del kwargs
        self._events.product(args, result)

    def _added(self, args: Sequence[object], kwargs: Mapping[str, object], result: object) -> None:
        del kwargs
        self._events.shifted(args[0], args[1], result)

    def _product(
        self, args: Sequence[object], kwargs: Mapping[str, object], result: object
    ) -> None:
        del args, kwargs
        if isinstance(result, Tensor) and result.dim() >= MIN_ATTENTION_DIMS:
            self._product_sizes.append(result.numel())

    def _softmax(
        self, args: Sequence[object], kwargs: Mapping[str, object], result: object
    ) -> None:
        del result
        scores, dim = _argument(args, kwargs, 0, "self"), _argument(args, kwargs, 1, "dim")
        if not isinstance(scores, Tensor) or scores.dim() < MIN_ATTENTION_DIMS:
            return
        if dim in {-1, scores.dim() - 1}:
            is_product = scores.numel() in self._product_sizes
            self._events.attention(SoftmaxInput(scores=scores, is_product=is_product))

    def _attention(self, operation: Operation) -> Look:
        names = [argument.name for argument in operation._schema.arguments]  # noqa: SLF001 - no public name

        def look(args: Sequence[object], kwargs: Mapping[str, object], result: object) -> None:
            values = result[0] if isinstance(result, tuple) else result
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            query, key = given["query"], given["key"]
            mask = given.get("attn_mask", given.get("attn_bias"))
            scale = given.get("scale")
            self._drops(given.get("dropout_p"), values)
            if isinstance(query, Tensor) and isinstance(key, Tensor):
                self._events.attention(
                    FusedAttention(
                        query=query,
                        key=key,
                        mask=mask if isinstance(mask, Tensor) else None,
                        is_causal=bool(given.get("is_causal", False)),
                        scale=scale if isinstance(scale, float) else None,
                    )
                )

        return look


if not hasattr(TorchDispatchMode, "ignore_compile_internals"):
    # torch < 2.10 asks this instead; else torch.compile would give up inside the mode for good.
    ActivationMode.is_infra_mode = classmethod(lambda _: True)  # type: ignore[method-assign,assignment]


def _argument(
    args: Sequence[object], kwargs: Mapping[str, object], place: int, *names: str
) -> object:
    """An argument by its place, else by one of its names."""
    if len(args) > place:
        return args[place]
    return next((kwargs[name] for name in names if name in kwargs), None)
