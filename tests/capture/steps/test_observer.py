"""The moments of a step, in their order, and what an observer that fails costs: itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry import TelemetryCallback
from telemetry.capture.run import observers as step_observers
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver
from telemetry.capture.steps.quantity import StepQuantity
from telemetry.errors import CaptureError

told: list[tuple[str, int]] = []


class Recorder(StepObserver):
    part = "recorder"

    def attached(self) -> None:
        told.append(("attached", self.around.ledger.current.step))

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        told.append(("forward", record.step))

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        told.append(("before_backward", record.step))

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        told.append(("after_backward", record.step))

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        told.append(("before_step", record.step))

    def after_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        told.append(("after_step", record.step))

    def step_ended(self, record: StepRecord) -> None:
        told.append(("step_ended", record.step))

    def close(self) -> None:
        told.append(("close", self.around.ledger.current.step))


class Sleeper(StepObserver):
    """Is woken by each sampled step for one backward pass."""

    part = "sleeper"
    at_rest = frozenset({"before_backward"})

    def sample_begins(self, record: StepRecord) -> None:
        told.append(("sample_begins", record.step))

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        told.append(("after_sampled_step", record.step))
        self.wake("before_backward")

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        told.append(("woken", record.step))
        self.rest("before_backward")

    def forward_without_gradient(self, record: StepRecord) -> None:
        told.append(("forward_without_gradient", record.step))


class Failing(StepObserver):
    part = "failing"

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        told.append(("failing", record.step))
        raise ZeroDivisionError("planted")


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    told.clear()

    def use(*observers: type[StepObserver]) -> None:
        found = tuple(StepQuantity(id=each.part, columns=(), observer=each) for each in observers)
        monkeypatch.setattr(step_observers, "step_quantities", lambda: found)

    return use


def train(store: Path, n_steps: int, *, strict: bool = False, every: int = 1) -> Path:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TelemetryCallback(
        model, optimizer, store=store, strict=strict, every=every, overhead_budget=None
    ) as telemetry:
        for _ in range(n_steps):
            loss = model(torch.ones(3, 2)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        with torch.no_grad():
            model(torch.ones(3, 2))
        assert telemetry.path is not None
        return telemetry.path


def test_moments_come_in_order_each_with_its_step(
    tmp_path: Path, observed: Callable[..., None]
) -> None:
    observed(Recorder)
    train(tmp_path, 2)
    moments = ["forward", "before_backward", "after_backward", "before_step", "after_step"]
    first = [(moment, 0) for moment in (*moments, "step_ended")]
    second = [(moment, 1) for moment in (*moments, "step_ended")]
    assert told == [("attached", 0), *first, *second, ("close", 2)]


def test_moments_of_samples_come_with_samples_and_one_at_rest_when_it_is_woken(
    tmp_path: Path, observed: Callable[..., None]
) -> None:
    observed(Sleeper)
    train(tmp_path, 5, every=3)
    assert told == [
        ("sample_begins", 0),
        ("after_sampled_step", 0),
        ("woken", 1),
        ("sample_begins", 3),
        ("after_sampled_step", 3),
        ("woken", 4),
        ("forward_without_gradient", 5),
    ]


def test_an_observer_that_fails_is_told_no_more_and_leaves_the_others_on(
    tmp_path: Path, observed: Callable[..., None]
) -> None:
    observed(Failing, Recorder)
    run = train(tmp_path, 2)
    assert told.count(("failing", 0)) == 1
    assert ("failing", 1) not in told
    assert ("step_ended", 1) in told
    (event,) = [row for row in records(run, "events") if row["kind"] == "telemetry_error"]
    assert event["message"] == "failing switched off: ZeroDivisionError: planted"


def test_a_strict_callback_raises_what_an_observer_raised(
    tmp_path: Path, observed: Callable[..., None]
) -> None:
    observed(Failing)
    with pytest.raises(CaptureError, match="failing: ZeroDivisionError: planted"):
        train(tmp_path, 1, strict=True)
