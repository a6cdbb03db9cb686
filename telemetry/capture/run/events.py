"""Events that describe what was attached: the model and its optimizers."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import (
    described_setting,
    parameters_of,
    plain_number,
)
from telemetry.capture.catalogue.module_roles import Together
from telemetry.capture.event import Event
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

PLAIN_KEYS = (
    "lr",
    "betas",
    "momentum",
    "nesterov",
    "eps",
    "weight_decay",
    "maximize",
    "amsgrad",
    "fused",
    "foreach",
    "capturable",
)


NEVER_STEPPED = Event(
    kind="optimizer_never_stepped",
    severity="warning",
    message="no observed optimizer has stepped in many calls of step(), so from now on each call "
    "counts as a step; pass the optimizer that the loop steps.",
)


def events_at_attach(model: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[Event]:
    """What is recorded, by which optimizers it is trained, and what looks wrong: that is logged."""
    yield attach_event(model, optimizers)
    yield from optimizer_events(optimizers)
    for event in warnings_at_attach(model, optimizers):
        if event.severity == "warning":
            logger.warning("%s", event.message)
        yield event


def attach_event(model: nn.Module, optimizers: Sequence[Optimizer]) -> Event:
    """What is recorded: class of the model, counts of modules, tensors and parameters.

    Parameters of lazy modules have no elements before the first forward.
    """
    held = list(model.parameters())
    parameters = [p for p in held if not is_lazy(p)]
    n_lazy = len(held) - len(parameters)
    trainable = [p for p in parameters if p.requires_grad]
    payload: dict[str, Json] = {
        "model": type(model).__name__,
        "modules": sum(1 for _ in model.modules()),
        "tensors": len(parameters),
        "parameters": sum(p.numel() for p in parameters),
        "trainable_tensors": len(trainable),
        "trainable_parameters": sum(p.numel() for p in trainable),
        "devices": sorted({str(p.device) for p in parameters}),
        "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in parameters}),
        "optimizers": [type(optimizer).__name__ for optimizer in optimizers],
        "lazy_tensors": n_lazy,
    }
    count = payload["parameters"]
    lazy = f" and {n_lazy} tensors that the first forward pass creates" if n_lazy else ""
    return Event(
        kind="attach",
        message=f"{type(model).__name__} with {len(parameters)} tensors, {count} parameters{lazy}",
        payload=payload,
    )


def optimizer_events(optimizers: Sequence[Optimizer]) -> Iterator[Event]:
    """One event per optimizer: class, and per group its plain settings and number of tensors."""
    for index, optimizer in enumerate(optimizers):
        groups: list[Json] = [
            {
                "tensors": len(group["params"]),
                **{key: described_setting(group[key]) for key in PLAIN_KEYS if key in group},
            }
            for group in optimizer.param_groups
        ]
        yield Event(
            kind="optimizer",
            message=f"{type(optimizer).__name__} with {len(groups)} parameter group(s)",
            payload={
                "index": index,
                "class": type(optimizer).__name__,
                "groups": groups,
                "state_step": _steps_taken(optimizer),
            },
        )


def failure_event(error: Mapping[str, Json]) -> Event:
    """Why everything that was waiting is written now."""
    return Event(
        kind="flush",
        message=f"{error.get('type')}: everything recorded so far was written",
        payload={"reason": "exception", "type": error.get("type")},
    )


def warnings_at_attach(model: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[Event]:
    """What would make a record useless, said at once and in words."""
    if isinstance(model, Together):
        return  # stands for what an unmodified script trains, tensors of no module among it
    own = {id(p) for p in model.parameters()}
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    held = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
    if not trainable:
        yield Event(
            kind="attach",
            severity="warning",
            message="the model has no trainable parameters: loss and metrics are recorded, but "
            "gradients and updates cannot be.",
        )
    if held and not held & own:
        yield Event(
            kind="attach",
            severity="warning",
            message="no parameter of the optimizer belongs to the model: build the optimizer "
            "from model.parameters() of the model passed here, after moving or wrapping "
            "it.",
        )


def _steps_taken(optimizer: Optimizer) -> int:
    """Steps that its state has seen, as loaded; tensors are read once, at attach."""
    counts = (
        plain_number(state.get("step"))
        for state in optimizer.state.values()
        if isinstance(state, Mapping)
    )
    steps = [float(count) for count in counts if count is not None]
    return max((int(count) for count in steps if math.isfinite(count)), default=0)
