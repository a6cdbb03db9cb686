"""Quantities of steps: from what an observer keeps to the cells of rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback
from telemetry.capture.data.batches import BatchHasher
from telemetry.capture.run import observers, recording
from telemetry.capture.steps import scalars
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver
from telemetry.capture.steps.quantity import Cells, HostSteps, StepQuantity

Record = Callable[[StepQuantity], list[dict[str, object]]]


class Roots(StepObserver):
    """Keeps what backward passes start from, as one sum and as parts."""

    part = "roots"

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        record.add("data_s", roots[0].detach())
        record.append("root_factor_sum", roots[0].detach())
        record.append("root_factor_sum", 1)


class OnlyFirst(StepObserver):
    """Keeps a whole number of the first step."""

    part = "first"

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        if record.step == 0:
            record.values["batch_hash"] = torch.tensor(2**62 + 1)


class StepsSoFar:
    """Counts the steps that it has been given; says that the loss of the second one is 7."""

    def __init__(self) -> None:
        self._n = 0

    def __call__(self, steps: HostSteps) -> Mapping[str, Cells]:
        first = self._n
        self._n += len(steps.scales)
        numbers = range(first, self._n)
        return {
            "data_s": [float(number) for number in numbers],
            "loss": [7.0 if number == 1 else None for number in numbers],
        }


class FailsLater:
    """Knows the first step and raises at the second one."""

    def __init__(self) -> None:
        self._n = 0

    def __call__(self, steps: HostSteps) -> Mapping[str, Cells]:
        self._n += len(steps.scales)
        if self._n > 1:
            raise ZeroDivisionError("planted")
        return {"data_s": [1.0]}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Rows of three steps of two passes each, with a quantity in place of all others."""
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")

    def record(quantity: StepQuantity) -> list[dict[str, object]]:
        for module in (observers, recording):
            monkeypatch.setattr(module, "step_quantities", lambda: (quantity,))
        weight = nn.Parameter(torch.ones(()))
        model = nn.Module()
        model.weight = weight
        optimizer = torch.optim.SGD([weight], lr=0.0)
        with TelemetryCallback(model, optimizer, store=tmp_path, strict=True) as telemetry:
            for number in range(3):
                for _ in range(2):
                    (weight * (number + 1)).backward()
                optimizer.step()
                telemetry.step(loss=0.5)
        assert telemetry.path is not None
        return records(telemetry.path, "steps")

    return record


def column(rows: Sequence[Mapping[str, object]], name: str) -> list[object]:
    return [row[name] for row in rows]


def test_sums_and_parts_reach_their_columns(recorded: Record) -> None:
    quantity = StepQuantity(id="roots", columns=("data_s", "root_factor_sum"), observer=Roots)
    rows = recorded(quantity)
    assert column(rows, "data_s") == [2.0, 4.0, 6.0]
    assert column(rows, "root_factor_sum") == [4.0, 6.0, 8.0]
    assert column(rows, "stale_grad_share") == [None] * 3, "no quantity fills it here"


def test_whole_numbers_are_exact_and_what_is_not_kept_has_its_cell(recorded: Record) -> None:
    quantity = StepQuantity(id="first", columns=("batch_hash",), observer=OnlyFirst, otherwise=-1)
    assert column(recorded(quantity), "batch_hash") == [2**62 + 1, -1, -1]


def test_a_reduction_remembers_steps_and_corrects_what_it_knows_better(recorded: Record) -> None:
    quantity = StepQuantity(
        id="so_far", columns=("data_s",), reduction=StepsSoFar, corrects=("loss",)
    )
    rows = recorded(quantity)
    assert column(rows, "data_s") == [0.0, 1.0, 2.0]
    assert column(rows, "loss") == [0.5, 7.0, 0.5]
    assert column(recorded(quantity), "data_s")[-3:] == [0.0, 1.0, 2.0], "one for each recording"


def test_a_reduction_that_fails_costs_its_column_and_no_row(
    recorded: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scalars, "STEPS_PER_PACKET", 1)
    rows = recorded(StepQuantity(id="later", columns=("data_s",), reduction=FailsLater))
    assert column(rows, "data_s") == [1.0, None, None]
    assert column(rows, "loss") == [0.5] * 3
    assert [r.getMessage() for r in caplog.records] == [
        "telemetry: later of coming steps is not recorded (ZeroDivisionError: planted)"
    ]


def test_no_two_quantities_fill_the_same_column() -> None:
    columns = [column for each in observers.step_quantities() for column in each.columns]
    assert len(columns) > 4
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("n_optimizers", [1, 2])
def test_what_a_forward_adds_after_an_optimizers_step_is_of_the_next_step(
    tmp_path: Path, n_optimizers: int
) -> None:
    """The second optimizer has read a batch of its own before its step ends the first one's."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    parts = [model] if n_optimizers == 1 else list(model)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.0) for part in parts]
    batches = DataLoader(TensorDataset(torch.arange(12.0).reshape(6, 2)), batch_size=1)
    with TelemetryCallback(model, optimizers, store=tmp_path, strict=True) as telemetry:
        for number, (batch,) in enumerate(batches):
            model(batch).sum().backward()
            optimizers[number % n_optimizers].step()
    assert telemetry.path is not None
    rows = records(telemetry.path, "steps")
    hasher = BatchHasher()
    assert column(rows, "batch_hash") == [int(hasher(batch)) for (batch,) in batches]
    assert None not in column(rows, "data_s")
