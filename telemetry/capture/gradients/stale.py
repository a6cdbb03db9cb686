"""Gradients that a step has used and that are still there when the next one is computed.

After a sampled step of an optimizer a few of its gradients are read. When the next backward pass
begins, what was not cleared has kept its value, and will be added to. One such look is not enough:
a generator's backward pass begins while the discriminator's used gradients are still there, which
are cleared before its own. So a gradient counts as stale only if no backward pass until the next
step of its optimizer found it cleared; accumulation adds to gradients and never clears them.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.norms import HALF_TYPES
from telemetry.capture.tensors.plain import local_part
from telemetry.capture.tensors.sample_plan import TensorPlan, plan_tensor, sampled

COLUMN = "stale_grad_share"
N_PROBES = 8
MAX_ELEMENTS = 1 << 14  # of each
MAX_PLANS = 64
Used: TypeAlias = tuple[Tensor, Tensor]  # parameter and gradient
Plans: TypeAlias = dict[tuple[tuple[int, ...], tuple[int, ...]], TensorPlan]


class StaleGradients(StepObserver):
    """Fills `stale_grad_share` of the step whose gradients the used ones went into.

    With several optimizers that stepped in it, the largest share of them.
    """

    part = "stale_gradients"
    at_rest = frozenset({"before_backward", "before_step", "after_step"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._used: dict[Optimizer, _UsedGradients] = {}
        self._plans: Plans = {}

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read some gradients that were just used."""
        self._settle(record, optimizer)  # backward passes of a closure came after `before_step`
        used = _UsedGradients.of(optimizer, self.around.model.parameters(), self._plans)
        if used is not None:
            self._used[optimizer] = used
            self.wake("before_backward")
            self.wake("before_step")

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Look which of them are still there."""
        del roots
        for optimizer, used in tuple(self._used.items()):
            used.look()
            if used.is_cleared:
                self._settle(record, optimizer)

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """What is still there now goes into this step."""
        self._settle(record, optimizer)
        if optimizer in self._used:
            self.wake("after_step")

    def after_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """The backward passes of a closure are over."""
        self._settle(record, optimizer)
        self.rest("after_step")

    def close(self) -> None:
        """Forget the gradients of the last step."""
        self._used.clear()

    def _settle(self, record: StepRecord, optimizer: Optimizer) -> None:
        used = self._used.get(optimizer)
        if used is None or not used.is_looked_at:
            return
        del self._used[optimizer]
        with torch.no_grad():
            record.values[COLUMN] = _larger(record.values.get(COLUMN), used.share())
        if not self._used:
            self.rest("before_backward")
            self.rest("before_step")


class _UsedGradients:
    """Gradients of a few parameters of one optimizer, known by two of their norms.

    Args:
        parameters: Of one dtype and device, with their sample plans.
    """

    def __init__(self, parameters: Sequence[tuple[Tensor, TensorPlan]]) -> None:
        self._parameters = parameters
        gradients = [_gradient(parameter, plan) for parameter, plan in parameters]
        self._norms = _norms(gradients)
        self._stale: Tensor | None = None
        self._places: list[int | None] = []  # where they lay at the last look
        self.is_cleared = False

    @classmethod
    def of(
        cls, optimizer: Optimizer, of_model: Iterable[Tensor], plans: Plans
    ) -> "_UsedGradients | None":
        """Up to 8 gradients spread over the optimizer; None when there is none to be read.

        Args:
            optimizer: Has stepped.
            of_model: Parameters of the model; the others are not looked at.
            plans: Those of former gradients; new ones are added.
        """
        known = frozenset(map(id, of_model))
        held = parameters_of(optimizer)
        used = [(p, p.grad) for p in held if p.grad is not None and id(p) in known]
        # Nearly always those can be read that are spread over all; else they are looked for.
        probes = _spread_out(used)
        if len(_alike(probes)) < len(probes):
            probes = _spread_out(_alike(used))
        if not probes:
            return None
        with torch.no_grad():
            return cls([(p, _plan(local_part(gradient), plans)) for p, gradient in probes])

    @property
    def is_looked_at(self) -> bool:
        """Whether a backward pass has begun since the step."""
        return self.is_cleared or self._stale is not None

    def look(self) -> None:
        """Compare with what is there when a backward pass begins."""
        with torch.no_grad():
            gradients = [_gradient(parameter, plan) for parameter, plan in self._parameters]
            if all(gradient is None for gradient in gradients):
                self.is_cleared = True
                return
            now = _norms(gradients)
            self._places = self._places_now()
            if self._stale is None:
                # One that holds NaN stays it: what was cleared would be zero, or gone.
                same = (now == self._norms) | (now.isnan() & self._norms.isnan())
                self._stale = same.all(dim=0) & self._was_used
            else:
                self._stale = self._stale & (now[1] != 0)

    def share(self) -> Tensor | float:
        """Stale gradients among those that were not zero, 0-d."""
        if self.is_cleared or self._stale is None:
            return 0.0
        moved = [
            index
            for index, (before, now) in enumerate(
                zip(self._places, self._places_now(), strict=True)
            )
            if before != now
        ]
        if len(moved) == len(self._places):
            return 0.0
        for index in moved:
            self._stale[index] = False
        return self._stale.sum() / self._was_used.sum().clamp(min=1)

    def _places_now(self) -> list[int | None]:
        grads = (parameter.grad for parameter, _ in self._parameters)
        return [None if grad is None else local_part(grad).data_ptr() for grad in grads]

    @property
    def _was_used(self) -> Tensor:
        return self._norms[1] != 0


def _plan(gradient: Tensor, plans: Plans) -> TensorPlan:
    key = gradient.shape, gradient.stride()
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= MAX_PLANS:  # shapes that change all the time
            plans.clear()
        plan = plans[key] = plan_tensor(gradient, MAX_ELEMENTS)
    return plan


def _spread_out(used: Sequence[Used]) -> Sequence[Used]:
    """Up to 8 of them, the first and the last among them."""
    n_probes = min(N_PROBES, len(used))
    last = max(n_probes - 1, 1)
    return [used[i * (len(used) - 1) // last] for i in range(n_probes)]


def _alike(used: Sequence[Used]) -> Sequence[Used]:
    """Those whose gradient can be read and is of the kind of the first such."""
    found = [each for each in used if _is_readable(local_part(each[1]))]
    return [each for each in found if _kind(each[1]) == _kind(found[0][1])]


def _is_readable(gradient: Tensor) -> bool:
    return (
        gradient.layout is torch.strided
        and gradient.is_floating_point()
        and not gradient.is_nested
        and not gradient.is_meta
        and gradient.numel() > 0
    )


def _kind(gradient: Tensor) -> tuple[torch.dtype, torch.device]:
    return gradient.dtype, gradient.device


def _gradient(parameter: Tensor, plan: TensorPlan) -> Tensor | None:
    """The sampled elements of a gradient; None when it is gone or is no longer the same kind."""
    if parameter.grad is None:
        return None
    gradient = local_part(parameter.grad)
    if not _is_readable(gradient) or tuple(gradient.shape) != plan.shape:
        return None
    return sampled(plan, gradient)


def _norms(gradients: Sequence[Tensor | None]) -> Tensor:
    """Sum of magnitudes and L2 norm of each, 0 for what is gone, shape (2, n_gradients)."""
    there = [gradient for gradient in gradients if gradient is not None]
    wider = torch.float32 if there[0].dtype in HALF_TYPES else None
    nothing = torch.zeros((), dtype=wider or there[0].dtype, device=there[0].device)
    rows: list[Tensor] = []
    for order in (1, 2):
        norms = iter(torch._foreach_norm(there, order, wider))  # noqa: SLF001 - no public name
        rows += [nothing if gradient is None else next(norms) for gradient in gradients]
    return torch.stack(rows).view(2, -1)


def _larger(known: Tensor | float | None, found: Tensor | float) -> Tensor | float:
    if not isinstance(known, Tensor):
        return found if known is None or isinstance(found, Tensor) else max(known, found)
    if not isinstance(found, Tensor):
        return known
    return torch.maximum(known, found.to(known.device, non_blocking=True))
