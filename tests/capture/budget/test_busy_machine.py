"""A machine with more to do than it has cores: waiting for a core is no cost of recording."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from telemetry.capture.budget.clocks import Clocks, CoreQueue
from telemetry.capture.budget.costs import Costs
from telemetry.capture.isolation.meter import Metered
from telemetry.capture.steps.options import Options

TURN_S = 0.003


@dataclass
class Machine:
    """Three clocks that move when something is done.

    Attributes:
        delay: Turns that others have between two of this thread.
    """

    delay: float = 0.0
    turn_s: float = TURN_S  # that are left to it
    wall_s: float = 5.0
    processor_s: float = 1.0
    queued_s: float = 0.0

    @property
    def clocks(self) -> Clocks:
        return Clocks(
            wall=lambda: self.wall_s,
            processor=lambda: self.processor_s,
            queued=lambda: self.queued_s,
        )

    def compute(self, seconds: float) -> None:
        self.processor_s += seconds
        self.wall_s += seconds
        self.turn_s -= seconds
        while self.turn_s < 0:
            self.turn_s += TURN_S
            self.wait(self.delay * TURN_S)

    def wait(self, seconds: float) -> None:
        self.queued_s += seconds
        self.wall_s += seconds


class Loop:
    """A training on such a machine whose samples take 8 ms and whose hooks take 50 us."""

    def __init__(self, machine: Machine, *, first_s: float = 0.008) -> None:
        self.machine = machine
        self.first_s = first_s
        self.costs = Costs(options(), machine.clocks)
        self.samples: list[int] = []
        self.charged: list[float] = []

    def run(self, n_steps: int, *, stall_s: float = 0.0) -> "Loop":
        for step in range(len(self.charged), len(self.charged) + n_steps):
            with Metered(self.costs.meter):
                is_sampled = self.costs.sampled(step)
            self.machine.compute(0.002)
            with Metered(self.costs.meter):
                self.machine.compute(0.00005)
                self.machine.wait(stall_s)
                if is_sampled:
                    self.machine.compute(0.008 if self.samples else self.first_s)
                    self.samples.append(step)
            self.charged.append(self.costs.take_step())
            self.costs.governor.step_ended(step)
        return self


def options() -> Options:
    return Options(
        every=None,
        overhead_budget=0.01,
        overhead_allowance_s=2.0,
        histograms=False,
        activations=False,
        flight_recorder=0,
        strict=True,
    )


@pytest.mark.parametrize("delay", [3.5, 20.0])
def test_a_busy_machine_gets_as_many_samples_as_an_idle_one(delay: float) -> None:
    idle, busy = Loop(Machine()).run(3000), Loop(Machine(delay=delay)).run(3000)
    assert len(busy.samples) == pytest.approx(len(idle.samples), rel=0.03)
    assert len(idle.samples) > 50
    assert busy.costs.share == pytest.approx(idle.costs.share, rel=0.1)


def test_imports_and_allocations_decide_nothing() -> None:
    usual, cold = Loop(Machine()).run(2000), Loop(Machine(), first_s=3.0).run(2000)
    assert len(cold.samples) == pytest.approx(len(usual.samples), rel=0.03)
    assert cold.costs.total_s == pytest.approx(3.0, abs=0.9)  # and it is told


def test_a_hook_that_waits_for_a_core_is_charged_what_it_computes() -> None:
    loop = Loop(Machine()).run(400)
    loop.run(400, stall_s=0.01)
    plain = [s for step, s in enumerate(loop.charged[400:], 400) if step not in set(loop.samples)]
    assert len(plain) > 300
    assert max(plain) <= 0.0005
    assert min(plain) == pytest.approx(0.00005)


def test_hooks_that_have_become_dear_are_charged_in_full_soon() -> None:
    loop = Loop(Machine()).run(400)
    for step in range(400, 500):
        loop.costs.sampled(step)
        with Metered(loop.costs.meter):
            loop.machine.compute(0.003)
        charged_s = loop.costs.take_step()
    assert charged_s == pytest.approx(0.003)


def test_hashing_is_charged_to_its_purse_alone() -> None:
    machine = Machine(delay=9.0)
    costs = Costs(options(), machine.clocks)
    costs.sampled(0)
    with Metered(costs.meter):
        machine.compute(0.001)
        with costs.hashing(), Metered(costs.meter):
            machine.compute(0.02)
        machine.compute(0.001)
    assert costs.purse.cost_s == pytest.approx(0.02)
    assert costs.take_step() == pytest.approx(0.022)
    assert costs.governor.cost_s == pytest.approx(0.002)


def test_the_wait_is_what_the_system_says(tmp_path: Path) -> None:
    path = tmp_path / "schedstat"
    path.write_bytes(b"100 2000000000 3\n")
    queue = CoreQueue(str(path))
    assert queue() == 0.0
    path.write_bytes(b"100 3500000000 4\n")
    assert queue() == pytest.approx(1.5)


@pytest.mark.parametrize("text", [None, b"", b"what", b"1 x 2"])
def test_where_the_system_says_nothing_no_wait_is_known(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "schedstat"
    if text is not None:
        path.write_bytes(text)
    assert CoreQueue(str(path))() == 0.0
