"""In which state the optimizer sees a gradient: unscaled, clipped, or with the loss scale in it."""

import functools
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.optim import Optimizer

# torch's own clip coefficient is max_norm / (total_norm + 1e-6), at most 1.
CLIP_EPSILON = 1e-6
L2 = 2.0


class Provenance(StrEnum):
    """State of a gradient as the optimizer saw it."""

    UNSCALED = "unscaled"
    CLIPPED = "clipped"
    RAW = "raw"


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the coefficient is cached
class ClipCall:
    """One call of a clipping function.

    Attributes:
        parameters: Identities of the clipped parameters.
        by_value: Whether elements were clipped one by one, which cannot be undone.
        total_norm: What `clip_grad_norm_` returned, on its device; None after value clipping, and
            where the norm is spread over ranks.
        max_norm: Its limit; None after value clipping.
        norm_type: Order of the norm; 2 unless the loop asked for another.
        loss_scale: Factor that was in the gradients when they were clipped, 0-d; None: none.
    """

    parameters: frozenset[int]
    by_value: bool
    total_norm: Tensor | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    loss_scale: Tensor | None = None

    @functools.cached_property
    def coefficient(self) -> Tensor | None:
        """Factor that every gradient was multiplied by, 0-d; None where it is not known."""
        if self.total_norm is None or self.max_norm is None:
            return None
        return torch.clamp(self.max_norm / (self.total_norm + CLIP_EPSILON), max=1.0)

    @property
    def unscaled_norm(self) -> Tensor | None:
        """The norm without the loss scale, 0-d."""
        if self.total_norm is None or self.loss_scale is None:
            return self.total_norm
        return self.total_norm / self.loss_scale.to(self.total_norm.device, non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipRecord:
    """The clippings of one optimizer's gradients before one step, at least one.

    Attributes:
        calls: In the order they were made.
        covers_all: Whether each gradient was clipped by norm.
    """

    calls: tuple[ClipCall, ...]
    covers_all: bool = True

    @property
    def by_value(self) -> bool:
        """Whether elements were clipped one by one, which cannot be undone."""
        return any(call.by_value for call in self.calls)

    @property
    def max_norm(self) -> float | None:
        """Limit of the last clipping by norm."""
        limits = [call.max_norm for call in self.calls if call.max_norm is not None]
        return limits[-1] if limits else None

    @property
    def total_norm(self) -> Tensor | None:
        """L2 norm before clipping and scaling, 0-d, over calls that clipped different parameters.

        None after value clipping alone, for norms of another order, and where calls overlap.
        """
        calls = [call for call in self.calls if not call.by_value]
        norms = [norm for call in calls if (norm := call.unscaled_norm) is not None]
        if not norms or len(norms) < len(calls) or any(call.norm_type != L2 for call in calls):
            return None
        if len(norms) == 1:
            return norms[0]
        every = frozenset[int]().union(*(call.parameters for call in calls))
        if len(every) < sum(len(call.parameters) for call in calls):
            return None
        return torch.stack([norm.to(norms[0].device) for norm in norms]).square().sum().sqrt()

    @property
    def coefficient(self) -> Tensor | None:
        """Strongest clipping by norm, in (0, 1], 0-d; None after value clipping alone."""
        found = [c for call in self.calls if (c := call.coefficient) is not None]
        if len(found) <= 1:
            return found[0] if found else None
        return torch.stack([c.to(found[0].device) for c in found]).min()


def loss_scale(optimizer: Optimizer) -> Tensor | None:
    """A copy of the loss scale that a fused optimizer still finds in its gradients, or None.

    Source: `torch.amp.GradScaler.step` leaves it there for optimizers that unscale by themselves.
    """
    scale = getattr(optimizer, "grad_scale", None)
    # The scaler changes its scale in place after the step.
    return scale.detach().clone() if isinstance(scale, Tensor) else None
