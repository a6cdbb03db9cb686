"""Functions that torch.compile runs as Python where it would trace them.

A hook of an optimizer whose `step` is compiled would be traced with all that it calls: clocks and
counters become guards, and the graphs are compiled anew with every step. Set aside, it is one
graph break beside those that torch itself makes in each optimizer's step.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch._compile import _disable_dynamo  # the lazy form has no public name

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; eager code calls it directly, compiled code breaks its graph for it.

    Args:
        function: A plain function, no method.
    """
    # Not torch.compiler.disable, which imports the compiler and costs something in eager calls too.
    aside = _disable_dynamo(function)

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        # Not is_compiling, which asks TorchScript first: every hook of every step pays for it.
        if torch.compiler.is_dynamo_compiling():
            return aside(*args, **kwargs)
        return function(*args, **kwargs)

    return inner
