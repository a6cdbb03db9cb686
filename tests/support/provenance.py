"""A model of one weight, whose losses and gradients can be computed by hand, and its rows."""

from collections.abc import Mapping
from pathlib import Path

import torch
from loops import records
from torch import Tensor, nn

from telemetry import TelemetryCallback

Row = Mapping[str, object]
Run = TelemetryCallback


def scalar(weight: float = 1.0, *, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """Y = weight * x."""
    model = nn.Linear(1, 1, bias=False, dtype=dtype)
    with torch.no_grad():
        model.weight.fill_(weight)
    return model


def x(*values: float) -> Tensor:
    """A batch of one feature; the gradient of the sum of `scalar`'s outputs is the sum of it."""
    return torch.tensor(values)[:, None]


def opened(
    model: nn.Module, optimizer: object, store: Path, **options: object
) -> TelemetryCallback:
    """A callback that samples every step and raises what goes wrong."""
    return TelemetryCallback(
        model,
        optimizer,  # type: ignore[arg-type]
        store=store,
        overhead_budget=None,
        strict=True,
        **{"every": 1, "activations": False, **options},  # type: ignore[arg-type]
    )


def steps(telemetry: TelemetryCallback) -> list[dict[str, object]]:
    """The rows of `steps` of a closed run."""
    assert telemetry.path is not None
    return records(telemetry.path, "steps")


def column(telemetry: TelemetryCallback, name: str) -> list[object]:
    """One column of them."""
    return [row[name] for row in steps(telemetry)]


def tensors(telemetry: TelemetryCallback) -> dict[tuple[object, object, object], Row]:
    """The rows of `tensor_stats` by step, name of the parameter, and kind; each exists once."""
    assert telemetry.path is not None
    names = {row["tensor_id"]: row["name"] for row in records(telemetry.path, "tensors")}
    found: dict[tuple[object, object, object], Row] = {}
    for row in records(telemetry.path, "tensor_stats"):
        key = (row["step"], names[row["tensor_id"]], row["kind"])
        assert key not in found
        found[key] = row
    return found
