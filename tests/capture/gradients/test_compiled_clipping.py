"""Clipping that torch.compile takes in, where its calls cannot be seen."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import records
from provenance import column, opened, scalar, tensors, x
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from telemetry import TelemetryCallback

Graph = torch.fx.GraphModule


class Backend:
    """Runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.n_graphs = 0

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        del inputs
        self.n_graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def train(
    clip: Callable[..., object], store: Path | None, *, before: bool = False
) -> tuple[TelemetryCallback | None, int, list[float]]:
    """Three steps from 8 with a gradient of 4 clipped to 1; `before`: two more before recording.

    Returns:
        The closed callback, the number of graphs, and the weight after each step.
    """
    model = scalar(8.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    backend = Backend()
    compiled = torch.compile(lambda: clip(model.parameters(), 1.0), backend=backend, fullgraph=True)
    weights: list[float] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        model(x(4.0)).sum().backward()
        compiled()
        optimizer.step()
        weights.append(model.weight.item())

    for _ in range(2 * before):
        step()
    telemetry = None if store is None else opened(model, optimizer, store)
    for _ in range(3):
        step()
    if telemetry is not None:
        telemetry.close()
    return telemetry, backend.n_graphs, weights


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_what_was_clipped_in_a_compiled_function_is_not_called_unclipped(
    clip: Callable[..., object], tmp_path: Path
) -> None:
    telemetry, n_graphs, weights = train(clip, tmp_path)

    _, n_bare, bare = train(clip, None)
    assert (n_graphs, weights) == (n_bare, bare)
    assert telemetry is not None
    seen = [row for key, row in tensors(telemetry).items() if key[2] == "gradient"]
    assert [row["sum"] for row in seen] == [pytest.approx(1.0)] * 3
    assert {(row["provenance"], row["scale"]) for row in seen} == {("clipped", None)}
    assert column(telemetry, "grad_norm_total") == [None] * 3
    assert telemetry.path is not None
    events = [row for row in records(telemetry.path, "events") if row["kind"] == "not_observed"]
    assert len(events) == 1
    assert "clipped inside a compiled function" in str(events[0]["message"])


def test_what_was_compiled_before_the_callback_is_noticed_too(tmp_path: Path) -> None:
    telemetry, _, _ = train(clip_grad_norm_, tmp_path, before=True)
    assert telemetry is not None
    seen = [row for key, row in tensors(telemetry).items() if key[2] == "gradient"]
    assert {(row["provenance"], row["scale"]) for row in seen} == {("clipped", None)}
