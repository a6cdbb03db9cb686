"""Reads what weights, gradients and optimizer state still tell, when something has gone wrong."""

import math
from collections.abc import Collection, Iterator, Mapping

from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.catalogue.group_settings import PARAMETERS, plain_number
from telemetry.capture.nonfinite.flow import tally_of
from telemetry.capture.nonfinite.origin import ParameterFacts, Tally
from telemetry.capture.tensors.norms import HALF_TYPES

SECOND_MOMENTS = frozenset({"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"})


def parameter_facts(
    catalogue: Catalogue, *, seen_finite: Collection[int] = ()
) -> list[ParameterFacts]:
    """Of every parameter, in the order of the forward as far as it is known.

    Args:
        catalogue: Names them.
        seen_finite: Identities of those whose gradient was finite before the last step.
    """
    catalogue.refresh()
    owners = {
        id(parameter): (optimizer, group)
        for optimizer in catalogue.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return [
        _facts(name, path, parameter, owners.get(id(parameter)), id(parameter) in seen_finite)
        for name, path, parameter in catalogue.in_forward_order()
    ]


def _facts(
    name: str,
    path: str,
    parameter: Tensor,
    owner: tuple[Optimizer, Mapping[str, object]] | None,
    gradient_was_finite: bool,  # noqa: FBT001 - as the caller
) -> ParameterFacts:
    gradient = parameter.grad
    settings: Mapping[str, object] = {} if owner is None else owner[1]
    return ParameterFacts(
        key=id(parameter),
        name=name,
        module=path,
        weight=tally_of(parameter),
        gradient=None if gradient is None else tally_of(gradient),
        states={} if owner is None else dict(_states(owner[0], parameter)),
        is_trained=owner is not None and parameter.requires_grad,
        gradient_was_finite=gradient_was_finite,
        settings_are_finite=all(map(math.isfinite, _numbers(settings))),
        may_divide_by_zero=0 in _numbers({"eps": settings.get("eps")}),
        may_overflow=parameter.dtype in HALF_TYPES,
    )


def _states(optimizer: Optimizer, parameter: Tensor) -> Iterator[tuple[str, Tally]]:
    for name, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
            tally = tally_of(value)
            if name in SECOND_MOMENTS:  # a root is taken of them
                tally = Tally(n_nan=tally.n_nan + int((value < 0).sum()), n_inf=tally.n_inf)
            yield name, tally


def _numbers(settings: Mapping[str, object]) -> Iterator[float]:
    for key, value in settings.items():
        if key == PARAMETERS:
            continue
        for number in value if isinstance(value, tuple | list) else (value,):
            known = plain_number(number)
            if known is not None:
                yield float(known.detach() if isinstance(known, Tensor) else known)
