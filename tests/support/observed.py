"""Rows of `module_stats` that an observer gives for real steps, by path, site and phase."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.activations.rows import ModulePacket
from telemetry.capture.catalogue.catalogue import clean_path, hash_id

Row = dict[str, object]
Rows = dict[tuple[str, str, str], Row]


def rows_of(model: nn.Module, packet: ModulePacket | None) -> Rows:
    """One row per (path, site, phase), NULL as None."""
    if packet is None:
        return {}
    paths = {hash_id(clean_path(path)): clean_path(path) for path, _ in model.named_modules()}
    result: Rows = {}
    for name, table in packet.rows():
        assert name == "module_stats"
        for row in table.to_pylist():
            key = (paths[row["module_id"]], row["site"], row["phase"])
            assert key not in result
            result[key] = row
    return result


def table_of(packet: ModulePacket) -> pa.Table:
    ((_, table),) = packet.rows()
    return table


def observed_step(
    model: nn.Module,
    forward: Callable[[], Tensor],
    *,
    observer: ModuleObserver | None = None,
    step: int = 0,
) -> Rows:
    """One observed forward and backward; what `forward` returns is summed up to the loss."""
    observer = observer or ModuleObserver(model)
    observer.begin(step)
    output = forward()
    loss = output if output.dim() == 0 else output.sum()
    observer.observe_roots([loss])
    loss.backward()
    return rows_of(model, observer.end())


def site(rows: Rows, path: str, name: str = "output", phase: str = "train") -> Row:
    return rows[path, name, phase]


def sites(rows: Rows, path: str) -> set[str]:
    return {name for own, name, _ in rows if own == path}


def profile(row: Row) -> npt.NDArray[np.float32]:
    values = row["profile"]
    assert isinstance(values, bytes)
    return np.frombuffer(values, "<f4")


def dead_units(row: Row) -> list[int]:
    """Numbers of the units that the bitmap marks."""
    bits = row["dead"]
    if bits is None:
        return []
    assert isinstance(bits, bytes)
    return list(np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")))


def n_hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def constant_linear(n_in: int, n_out: int, *, weight: float, bias: float) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.fill_(weight)
        layer.bias.fill_(bias)
    return layer
