from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import pytest
import torch
from observed_parameters import Observed
from torch import nn

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.activations.rows import ModulePacket
from telemetry.capture.packet import HOST_ROW_BYTES, rows_packet
from telemetry.capture.parameters.rows import ParameterPacket
from telemetry.capture.parameters.statistics.dead_bitmap import DeadWindows
from telemetry.format.tables import table


def test_rows_on_the_host_become_a_table_with_the_types_of_their_schema() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - tables hold naive UTC
    packet = rows_packet(
        "metrics",
        [
            {"step": 0, "phase": "eval", "name": "a", "value": 1, "wall_time": now},
            {"step": 1, "phase": "eval", "name": "a"},
        ],
    )
    ((name, rows),) = packet.rows()
    assert name == "metrics"
    types = {column.name: column.arrow_type for column in table("metrics").columns}
    assert {field.name: field.type for field in rows.schema}.items() <= types.items()
    assert rows.column("value").to_pylist() == [1.0, None]
    assert rows.column("wall_time").to_pylist() == [now, None]
    assert packet.n_bytes == 2 * HOST_ROW_BYTES


def test_no_rows_are_no_table() -> None:
    assert list(rows_packet("metrics", []).rows()) == []


@pytest.mark.parametrize("optimizer_type", [torch.optim.AdamW, torch.optim.SGD])
def test_samples_made_together_are_those_made_alone(
    optimizer_type: type[torch.optim.Optimizer],
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3), nn.Linear(3, 3))
    optimizer = optimizer_type(model.parameters(), lr=1e-2)
    parameters = Observed(model, optimizer)
    modules = ModuleObserver(model)
    samples: list[ParameterPacket] = []
    activations: list[ModulePacket] = []
    for step in range(5):
        modules.begin(step)
        optimizer.zero_grad()
        model(torch.randn(40, 5))[:, step % 3].sum().backward()
        if step == 3:
            model[3].bias.grad = None
        if step == 4:
            model[0].weight.grad[0, 0] = torch.inf
        parameters.before(optimizer, step)
        optimizer.step()
        sample, activation = parameters.after(optimizer, step), modules.end()
        assert sample is not None
        assert activation is not None
        samples.append(sample)
        activations.append(activation)
    ((name, together),) = ParameterPacket.rows_of(samples)
    alone = pa.concat_tables([table for packet in samples for _, table in packet.rows()])
    assert name == "tensor_stats"
    assert together.num_rows >= 5 * 6 * 3
    order = [("step", "ascending"), ("tensor_id", "ascending")]
    assert together.sort_by(order).equals(alone.sort_by(order))
    ((_, together),) = ModulePacket.rows_of(activations)
    windows = DeadWindows()
    again = [replace(packet, windows=windows) for packet in activations]
    alone = pa.concat_tables([table for packet in again for _, table in packet.rows()])
    assert together.equals(alone)
