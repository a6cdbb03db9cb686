"""Loops over data loaders whose waits a test decides."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from loops import records
from provenance import opened, scalar
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from telemetry import TelemetryCallback


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class SlowData(TensorDataset):
    """Rows of one feature, each of which takes some seconds to read."""

    def __init__(self, n: int, clock: Clock, seconds: float) -> None:
        super().__init__(torch.arange(float(n))[:, None])
        self._clock = clock
        self._seconds = seconds

    def __getitem__(self, index: int) -> Tensor:
        self._clock.now_s += self._seconds
        row: Tensor = super().__getitem__(index)[0]
        return row


class Stream(IterableDataset[Tensor]):
    """An endless or finite stream without a length."""

    def __init__(self, n: int, clock: Clock) -> None:
        self._n = n
        self._clock = clock

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(self._n):
            self._clock.now_s += 1.0
            yield torch.tensor([float(index)])


class Loop:
    """A recorded training of one weight."""

    def __init__(self, store: Path) -> None:
        self.model = scalar(0.5)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        self.telemetry = opened(self.model, self.optimizer, store)

    def train(self, *batches: Tensor) -> None:
        loss = sum((self.model(batch).square().mean() for batch in batches), torch.zeros(()))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.telemetry.step(loss=loss)

    def evaluate(self, batch: Tensor) -> None:
        with torch.no_grad():
            self.model(batch)

    def close(self) -> TelemetryCallback:
        self.telemetry.close()
        return self.telemetry


def without_fingerprint(event: Mapping[str, object]) -> str:
    """The payload of an event of an epoch; the fingerprint has tests of its own."""
    return re.sub(r', "fingerprint": ("\w{16}"|null)', "", str(event["payload"]))


def epoch_events(telemetry: TelemetryCallback) -> list[Mapping[str, object]]:
    assert telemetry.path is not None
    return [row for row in records(telemetry.path, "events") if row["kind"] == "epoch"]
