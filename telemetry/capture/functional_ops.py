"""Activation functions: as modules by their type, as operations by a dispatch mode.

The mode stands around an outermost forward on sampled steps and sees what autograd and autocast
have left of `F.relu` and its like, in place or not. It works under compiled regions, whose
operations it does not see.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture.module_statistics import Family


class Operation(Protocol):
    """An operator overload."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run it."""
        ...


OnActivation: TypeAlias = "Callable[[str, Family, Tensor], None]"

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
    "tanh": ("tanh", Family.TANH),
    "sigmoid": ("sigmoid", Family.SIGMOID),
}
# max(x, 0) written as a clamp; only with a lower bound of zero is it a ReLU.
CLAMPS = {"clamp": "relu", "clamp_min": "relu", "hardtanh": "relu6"}


def module_family(module: nn.Module) -> Family | None:
    """The family of a module that is an activation function; None for any other."""
    for kind, family in ACTIVATION_MODULES.items():
        if isinstance(module, kind):
            return family
    name = type(module).__name__.lower()
    is_bare = next(module.children(), None) is None and next(module.parameters(), None) is None
    return Family.SMOOTH if is_bare and any(w in name for w in ACTIVATION_WORDS) else None


def operation_sites() -> tuple[dict[Operation, tuple[str, Family]], dict[Operation, str]]:
    """Site name and family by operator overload, and site names of the clamps."""
    sites = {overload: site for name, site in OPERATIONS.items() for overload in _overloads(name)}
    clamps = {overload: site for name, site in CLAMPS.items() for overload in _overloads(name)}
    return sites, clamps


def _overloads(name: str) -> list[Operation]:
    packets = [getattr(torch.ops.aten, twin, None) for twin in (name, f"{name}_")]
    return [packet.default for packet in packets if packet is not None]


def modes_are_safe() -> bool:
    """Whether a dispatch mode can stand around a forward of this process.

    Before torch offered `supports_higher_order_operators`, a higher-order operator under a mode
    that it did not know raised; flex_attention is the one that eager code calls.
    """
    known = hasattr(TorchDispatchMode, "supports_higher_order_operators")
    return known or "torch.nn.attention.flex_attention" not in sys.modules


class ActivationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells an observer each functional activation, after it ran.

    Args:
        on_activation: Called with the site name, the family and the result; must not raise.

    Attributes:
        cost_s: Seconds spent in here, the operations themselves left out.
    """

    supports_higher_order_operators = True

    def __init__(self, on_activation: OnActivation) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cost_s = 0.0
        self._on_activation = on_activation
        self._sites, self._clamps = operation_sites()

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
        """Run the operation as it is; look at the result of an activation."""
        del types
        result = func(*args, **(kwargs or {}))
        started_s = time.perf_counter()
        site = self._sites.get(func)
        if site is None and func in self._clamps and _is_lower_bound_zero(args, kwargs):
            site = (self._clamps[func], Family.RELU)
        if site is not None and isinstance(result, Tensor):
            self._on_activation(*site, result)
        self.cost_s += time.perf_counter() - started_s + DISPATCH_S
        return result


if not hasattr(TorchDispatchMode, "ignore_compile_internals"):
    # torch < 2.10 asks this instead; else torch.compile would give up inside the mode for good.
    ActivationMode.is_infra_mode = classmethod(lambda _: True)  # type: ignore[method-assign,assignment]


def _is_lower_bound_zero(args: Sequence[object], kwargs: Mapping[str, object] | None) -> bool:
    named = kwargs or {}
    low = args[1] if len(args) > 1 else named.get("min", named.get("min_val"))
    return isinstance(low, int | float) and low == 0
