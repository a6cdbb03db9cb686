"""The small fixed batch of a probe: the arguments of the model's forward, as copies of our own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.tensors.inputs import tensors_in
from telemetry.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBatch:
    """Arguments of a forward; nobody writes into their tensors."""

    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: object) -> "ProbeBatch":
        """Check and copy what a user passed.

        Args:
            batch: A tensor, a tuple or list of positional arguments, or a mapping of keyword
                arguments; containers inside are entered, what is no tensor is passed on as it is.

        Raises:
            TypeError: it is nothing of that kind.
            UsageError: it holds no tensor.
        """
        given: ProbeBatch
        if isinstance(batch, Tensor):
            given = cls(args=(batch,))
        elif isinstance(batch, tuple | list):
            given = cls(args=tuple(batch))
        elif isinstance(batch, Mapping) and all(isinstance(name, str) for name in batch):
            given = cls(kwargs=dict(batch))
        else:
            raise TypeError(
                f"probe is a {type(batch).__name__}, expected a tensor, or the arguments of the "
                "model's forward as a tuple or a dict of names."
            )
        if next(tensors_in((given.args, given.kwargs)), None) is None:
            raise UsageError(
                "probe contains no tensor: pass a batch as the model's forward() expects it."
            )
        with undispatched():
            return given.copied(None)

    def copied(self, device: torch.device | None) -> "ProbeBatch":
        """Detached copies, which a forward may write into, on a device; None: where they are."""
        return ProbeBatch(
            args=tuple(_copied(value, device) for value in self.args),
            kwargs={name: _copied(value, device) for name, value in self.kwargs.items()},
        )


def _copied(value: object, device: torch.device | None) -> object:
    if isinstance(value, Tensor):
        own = value.detach()
        # No waiting for the device: what is copied is kept as long as the callback.
        return own.to(own.device if device is None else device, non_blocking=True, copy=True)
    if isinstance(value, Mapping):
        return {name: _copied(inner, device) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        items = [_copied(inner, device) for inner in value]
        if isinstance(value, list):
            return items
        make: Callable[[list[object]], object] = getattr(value, "_make", tuple)
        return make(items)
    return value
