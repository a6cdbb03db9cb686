"""What recording costs is charged: the time in the hooks, and the way to each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from loops import records
from recorded import run_settings
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from telemetry.capture.budget.clocks import Clocks
from telemetry.capture.budget.dispatch_cost import dispatch_s, measured_dispatch_s
from telemetry.capture.isolation.meter import Meter, Metered
from telemetry.capture.run.recording import Recording
from telemetry.capture.steps.options import Options
from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status


class Clock:
    """Moves when it is told to."""

    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


def overheads(store: Path, *, dispatch_s: float, n_forwards: int = 1) -> list[float]:
    """Seconds charged to each of some steps that are not sampled, by a clock that stands still."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    writer = RunWriter.open(run_settings(store))
    recording = Recording(
        model,
        [optimizer],
        options=Options(
            every=100,
            overhead_budget=None,
            overhead_allowance_s=0.0,
            histograms=False,
            activations=False,
            flight_recorder=0,
            strict=True,
        ),
        writer=writer,
        clocks=Clocks.alone(Clock()),
        dispatch_s=dispatch_s,
    )
    for _ in range(8):
        for _ in range(n_forwards):
            loss = model(torch.ones(2, 4)).sum()
            loss.backward()
        optimizer.step()
        recording.steps.called(loss, {})
    recording.close(Status.FINISHED, None)
    return [float(str(row["overhead_s"])) for row in records(writer.ref.path, "steps")[3:]]


def test_each_hook_is_charged_the_way_to_it(tmp_path: Path) -> None:
    # Forward, backward, before and after the optimizer's step, and the call of the loop.
    assert overheads(tmp_path, dispatch_s=3.0) == [5 * 3.0] * 5


def test_micro_batches_are_charged_each(tmp_path: Path) -> None:
    assert overheads(tmp_path, dispatch_s=1.0, n_forwards=4) == [4 * 2 + 3] * 5


def test_where_the_way_costs_nothing_and_no_time_passes_nothing_is_charged(tmp_path: Path) -> None:
    assert overheads(tmp_path, dispatch_s=0.0) == [0.0] * 5


def test_of_blocks_within_blocks_the_outermost_counts() -> None:
    clock = Clock()
    meter = Meter(clock, dispatch_s=0.5)
    with Metered(meter):
        clock.now_s += 1
        with Metered(meter):
            clock.now_s += 2
        clock.now_s += 4
    assert meter.take() == 7.5
    assert meter.take() == 0


def test_a_block_that_ends_a_step_is_divided_between_two() -> None:
    clock = Clock()
    meter = Meter(clock)
    with Metered(meter):
        clock.now_s += 1
        assert meter.take() == 1
        clock.now_s += 2
        assert meter.spent_s == 2
    assert meter.take() == 2


def test_what_a_function_of_the_user_takes_is_not_charged() -> None:
    clock = Clock()
    meter = Meter(clock)
    with Metered(meter):
        clock.now_s += 1
        with meter.paused():
            clock.now_s += 100
        clock.now_s += 2
    assert meter.take() == 3


def test_a_block_that_an_exception_ends_is_charged() -> None:
    clock = Clock()
    meter = Meter(clock)
    with pytest.raises(KeyboardInterrupt), Metered(meter):
        clock.now_s += 1
        raise KeyboardInterrupt
    assert meter.take() == 1
    assert meter.start()


def test_the_way_is_what_was_not_timed_inside() -> None:
    readings = iter(range(1 << 20))
    # Each reading takes a second. Those around the hooks, less those within them, less those of
    # the loop without hooks, leave of each of 5 blocks the second between its two readings' ends.
    assert dispatch_s(lambda: float(next(readings))) == pytest.approx(1.0)


def test_measuring_the_way_leaves_the_training_alone() -> None:
    state = torch.get_rng_state()
    with told_of_everything() as told:
        assert dispatch_s(Clock()) == 0
    assert told == []
    assert torch.equal(torch.get_rng_state(), state)
    assert measured_dispatch_s() == measured_dispatch_s()


@contextmanager
def told_of_everything() -> Iterator[list[str]]:
    """Hooks on all modules and all optimizers, and torch's own backward replaced."""
    told: list[str] = []

    def forward(module: nn.Module, args: object) -> None:
        del args
        told.append(type(module).__name__)

    def stepped(optimizer: Optimizer, args: object, kwargs: object) -> None:
        del args, kwargs
        told.append(type(optimizer).__name__)

    def backward(*args: object, **kwargs: object) -> None:
        del args, kwargs
        told.append("backward")

    handles = [
        register_module_forward_pre_hook(forward),
        register_optimizer_step_pre_hook(stepped),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "backward", backward)
        yield told
    for handle in handles:
        handle.remove()
