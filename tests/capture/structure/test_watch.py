"""The graph is read on a few steps of a real loop, and training stays the same bits."""

from pathlib import Path

import pytest
import torch
from loops import records
from no_reading import NoReading
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from telemetry import TelemetryCallback

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Reader(nn.Module):
    """Reads sequences with a recurrent layer, and tells a class by two layers in a row."""

    def __init__(self, *, checkpointed: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 8, batch_first=False)
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 4)
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(x)[0][:, -1]
        if self.checkpointed:
            states = checkpoint(self.told, states, use_reentrant=False)
            assert isinstance(states, Tensor)
            return states
        return self.told(states)

    def told(self, states: Tensor) -> Tensor:
        out: Tensor = self.second(functional.dropout(self.first(states), 0.1))
        return out


def trained(
    store: Path | None, *, sizes: tuple[int, ...], every: int = 1, checkpointed: bool = False
) -> tuple[list[Tensor], Path | None]:
    """The weights at the end, and the run."""
    torch.manual_seed(0)
    model = Reader(checkpointed=checkpointed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    telemetry = None
    if store is not None:
        telemetry = TelemetryCallback(
            model, optimizer, store=store, every=every, overhead_budget=None, strict=True
        )
    for size in sizes:
        optimizer.zero_grad()
        out = model(torch.randn(size, 5, 3))
        loss = functional.cross_entropy(out, torch.randint(4, (size,)))
        loss.backward()
        optimizer.step()
        if telemetry is not None:
            telemetry.step(loss=loss.detach())
    if telemetry is None:
        return list(model.parameters()), None
    path = telemetry.path
    telemetry.close()
    return list(model.parameters()), path


def column(run: Path | None, name: str) -> list[object]:
    assert run is not None
    return [row[name] for row in records(run, "steps")]


def test_samples_one_two_four_and_new_batch_sizes_are_read(tmp_path: Path) -> None:
    _, run = trained(tmp_path, sizes=(8, 8, 8, 8, 8, 6, 8))
    assert column(run, "linear_pairs") == [1, 1, None, 1, None, 1, None]
    assert column(run, "over_batch") == [1, 1, None, 1, None, 1, None]
    assert set(column(run, "future_share")) == {None}


def test_events_say_which_and_are_told_once(tmp_path: Path) -> None:
    _, run = trained(tmp_path, sizes=(8, 8, 8, 8))
    assert run is not None
    events = {row["kind"]: str(row["payload"]) for row in records(run, "events")}
    assert '"first": "first.weight", "second": "second.weight"' in events["linear_layers"]
    assert '"module": "rnn", "n_steps": 8, "n_rows": 5' in events["over_the_batch"]
    kinds = [row["kind"] for row in records(run, "events")]
    assert kinds.count("linear_layers") == kinds.count("over_the_batch") == 1


def test_a_batch_as_large_as_its_sequences_are_long_tells_nothing(tmp_path: Path) -> None:
    """But a smaller last one does, be it sampled or not."""
    _, run = trained(tmp_path, sizes=(5, 5, 5, 4, 5, 4), every=100)
    assert column(run, "over_batch") == [None, None, None, 1, None, None]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_training_stays_the_same_bits(tmp_path: Path, checkpointed: bool) -> None:  # noqa: FBT001
    sizes = (8, 8, 6, 8)
    plain, _ = trained(None, sizes=sizes, checkpointed=checkpointed)
    watched, _ = trained(tmp_path, sizes=sizes, checkpointed=checkpointed)
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))


class Talker(nn.Module):
    """Tells the next token, and sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 7)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.words(words)))
        return out


def test_nothing_is_read_from_the_device_while_it_trains(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Talker()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    telemetry = TelemetryCallback(
        model, optimizer, store=tmp_path, every=1, overhead_budget=None, strict=True
    )
    path = telemetry.path
    with NoReading():
        for _ in range(2):
            words = torch.randint(7, (4, 9))
            loss = functional.cross_entropy(model(words[:, :-1]).mT, words[:, 1:])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    telemetry.close()
    assert column(path, "next_target_share") == [1.0, 1.0]
    assert column(path, "future_share") == [1.0, 1.0]
