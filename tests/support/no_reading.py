"""Training whose values nobody may read."""

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class NoReading(TorchDispatchMode):
    """Fails on any operation that brings a value of a tensor to the host."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        del types
        name = str(func)
        assert "_local_scalar_dense" not in name
        assert "nonzero" not in name
        return func(*args, **(kwargs or {}))
