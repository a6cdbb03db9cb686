"""Whether a model ends in a sigmoid: of one output an example its values alone do not tell."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from telemetry.explain.models.relu_rule import Function

SIGMOIDS: frozenset[object] = frozenset(
    {
        torch.sigmoid,
        torch.sigmoid_,
        torch.special.expit,
        functional.sigmoid,
        Tensor.sigmoid,
        Tensor.sigmoid_,
    }
)
CASTS: frozenset[object] = frozenset(
    {Tensor.to, Tensor.float, Tensor.double, Tensor.cpu, Tensor.clone, torch.clone}
)


class _Watch(TorchFunctionMode):
    """Remembers the memory that sigmoids wrote, and casts of it; while held it stays theirs."""

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[int, Tensor] = {}

    def holds(self, values: object) -> bool:
        """Whether a value is what a sigmoid gave, or a view of it."""
        return isinstance(values, Tensor) and _place(values) in self._written

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run a function and look at what it wrote."""
        del types
        is_cast = func in CASTS and bool(args) and self.holds(args[0])
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            if func in SIGMOIDS or is_cast:
                self._written[_place(found)] = found
            elif _is_in_place(func):
                self._written.pop(_place(found), None)
        return found


def ends_in_sigmoid(run: Callable[[], Tensor]) -> bool:
    """Whether outputs are those of a sigmoid, as they are or in another shape or type.

    Args:
        run: Runs the model.
    """
    watch = _Watch()
    with watch:
        outputs = run()
    return watch.holds(outputs)


def _place(values: Tensor) -> int:
    return values.untyped_storage().data_ptr()


def _is_in_place(func: Function) -> bool:
    name = func.__name__
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
