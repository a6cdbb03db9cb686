"""Deconvolution and guided backpropagation: another derivative for every ReLU, however it is spelt.

A function mode sees modules, functions and methods alike, in place or not, which hooks on modules
do not.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

RELUS: frozenset[object] = frozenset(
    {
        functional.relu,
        functional.relu_,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
    }
)
CLAMPS: frozenset[object] = frozenset(
    {
        torch.clamp,
        torch.clamp_,
        torch.clip,
        torch.clip_,
        torch.clamp_min,
        torch.clamp_min_,
        torch.Tensor.clamp,
        torch.Tensor.clamp_,
        torch.Tensor.clip,
        torch.Tensor.clip_,
        torch.Tensor.clamp_min,
        torch.Tensor.clamp_min_,
    }
)
# Nodes of the graph that mean a ReLU was missed, and those of other non-linearities.
MISSED = frozenset({"ReluBackward0", "ThresholdBackward0"})
OTHERS = frozenset(
    {
        "ClampBackward1",
        "ClampMinBackward0",
        "MaximumBackward0",
        "HardtanhBackward0",
        "LeakyReluBackward0",
        "GeluBackward0",
        "SiluBackward0",
        "EluBackward0",
        "CeluBackward0",
        "HardswishBackward0",
        "HardsigmoidBackward0",
        "MishBackward0",
        "PreluKernelBackward0",
        "SoftplusBackward0",
        "TanhBackward0",
        "SigmoidBackward0",
        "WhereBackward0",
        "CompiledFunctionBackward",
    }
)


class Function(Protocol):
    """What a function mode is handed."""

    __name__: str

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call it."""
        ...


class _Deconvolution(torch.autograd.Function):
    """Passes positive gradients. Source: Zeiler and Fergus 2014, arXiv:1311.2901."""

    @staticmethod
    def forward(_context: object, values: Tensor) -> Tensor:
        return values.clamp_min(0)

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        return gradient.clamp_min(0)


class _Guided(torch.autograd.Function):
    """Passes positive gradients of positive inputs. Source: Springenberg 2014, arXiv:1412.6806."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return values.clamp_min(0)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors  # type: ignore[attr-defined]
        passed: Tensor = gradient.clamp_min(0) * (values > 0)
        return passed


RULES = {"deconv": _Deconvolution, "guided": _Guided}


class ReluRule(TorchFunctionMode):
    """A block in which every ReLU has the derivative of a rule.

    Args:
        rule: `deconv` or `guided`.

    Attributes:
        count: How many were replaced.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self._apply = cast("Callable[[Tensor], Tensor]", RULES[rule].apply)
        self.count = 0

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Replace a ReLU, call anything else."""
        del types
        kwargs = kwargs or {}
        values = args[0] if args else kwargs.get("input")
        is_relu = func in RELUS or (func in CLAMPS and _is_at_zero(args, kwargs))
        if not is_relu or not isinstance(values, Tensor):
            return func(*args, **kwargs)
        self.count += 1
        if func.__name__.endswith("_") or kwargs.get("inplace") or args[1:2] == (True,):
            return values.copy_(self._apply(values.clone()))  # the caller may ignore the result
        return self._apply(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """What the rule met.

    Attributes:
        values: Gradient of the score under the rule, of the input's shape.
        replaced: ReLUs.
        missed: ReLUs that were run where nothing could see them.
        others: Other non-linearities by name, which kept their own derivative.
        same_output: Whether the output is exactly that without the rule, as it must be.
    """

    values: Tensor
    replaced: int
    missed: int
    others: Mapping[str, int]
    same_output: bool


def under_rule(rule: str, score: Callable[[Tensor], Tensor], values: Tensor) -> RuleReport:
    """The gradient of a score with respect to an input, with another derivative of ReLUs.

    Args:
        rule: `deconv` or `guided`.
        score: Inputs of shape (n, ...) to scores of shape (n,).
        values: One input, without the batch dimension.
    """
    leaf = values[None].clone().requires_grad_()
    with torch.enable_grad():  # without gradient torch may take another, fused path
        plain = score(leaf).detach()
    with torch.enable_grad(), ReluRule(rule) as mode:
        result = score(leaf)
    nodes = _nodes(result)
    (gradient,) = torch.autograd.grad(result.sum(), leaf, allow_unused=True)
    return RuleReport(
        values=torch.zeros_like(values) if gradient is None else gradient[0].detach(),
        replaced=mode.count,
        missed=sum(nodes[name] for name in MISSED),
        others={_short(name): nodes[name] for name in sorted(OTHERS) if nodes[name]},
        same_output=torch.equal(result.detach(), plain),
    )


def _short(node: str) -> str:
    """`Gelu` of `GeluBackward0`."""
    return node.partition("Backward")[0]


def _is_at_zero(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
    """Whether a clamp is a ReLU: from below at 0, and not from above."""
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)  # noqa: PLR2004 - x, min, max
    return isinstance(low, int | float) and low == 0 and high is None


def _nodes(result: Tensor) -> Counter[str]:
    """Names of the nodes of a graph, counted."""
    found: Counter[str] = Counter()
    seen: set[object] = set()
    waiting = [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found[node.name().rpartition("::")[2]] += 1
        waiting += [parent for parent, _ in node.next_functions]
    return found
