"""Frozen parameters and those that no optimizer has are named."""

from pathlib import Path

import pytest
import torch
from torch import nn

from telemetry import TelemetryCallback
from telemetry.store.store import Store
from telemetry.store.summaries.trained_parameters import trained_parameters


def test_a_run_tells_what_is_frozen_and_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 1))
    model[0].requires_grad_(requires_grad=False)
    stray = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([*model[1].parameters(), stray], lr=0.1)
    with TelemetryCallback(model, optimizer, store=tmp_path, strict=True) as telemetry:
        model(torch.ones(5, 3)).sum().backward()
        optimizer.step()
        telemetry.step(loss=1.0)
    store = Store.open(tmp_path)
    (run,) = store.runs()
    with store.session([run]) as session:
        found = trained_parameters(session, run)
    assert (found.n_elements, found.n_trainable, found.n_foreign) == (29, 13, 1)
    assert set(found.frozen) == {"0.weight", "0.bias"}
    assert set(found.without_optimizer) == {"2.weight", "2.bias"}
