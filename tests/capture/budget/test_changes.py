"""Where a training begins to behave otherwise, it is looked at closely."""

import numpy as np
import pyarrow as pa
import pytest
from governed import Loop

from telemetry.capture.budget.changes import ChangeWatch
from telemetry.capture.budget.floor import PATTERN

RNG = np.random.default_rng
N_BEFORE = 400


class Watched:
    """A watch that is given rows of `steps`, and counts what it tells."""

    def __init__(self, *, batch: int = 50) -> None:
        self.batch = batch
        self.n_told = 0
        self.watch = ChangeWatch()
        self.watch.tell = self.told

    def told(self) -> None:
        self.n_told += 1

    def see(self, **columns: list[float | None] | np.ndarray) -> "Watched":
        n_rows = len(next(iter(columns.values())))
        nothing = [None] * n_rows
        names = ("loss", "grad_norm_total", "stale_grad_share")
        rows = pa.table({n: pa.array(columns.get(n, nothing), pa.float64()) for n in names})
        for first in range(0, n_rows, self.batch):
            self.watch.see(rows.slice(first, self.batch))
        return self


def noise(n_steps: int, *, seed: int = 0) -> np.ndarray:
    return RNG(seed).normal(size=n_steps)


LONG = 4000
TIMES = np.arange(LONG)
HEALTHY = {
    "noise": 1.0 + 0.1 * noise(LONG),
    "falling": 2.0 * np.exp(-TIMES / 300) + 0.1 + 0.02 * noise(LONG),
    "falling fast": 2.0 * np.exp(-TIMES / 30) + 0.1 + 0.02 * noise(LONG),
    "rising": TIMES / 100 + noise(LONG),
    "heavy tails": 1.0 + 0.1 * RNG(1).standard_t(2, size=LONG),
    "at rest": np.full(LONG, 0.5) + 1e-6 * noise(LONG),
    "rare": np.where(RNG(2).random(LONG) < 0.02, 5.0, 0.1) + 0.01 * noise(LONG),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("column", ["loss", "grad_norm_total"])
def test_noise_and_trends_are_no_change(name: str, column: str) -> None:
    assert Watched().see(**{column: HEALTHY[name]}).n_told == 0


CHANGED = {
    "lower": 0.4 + 0.1 * noise(100, seed=1),
    "higher": 1.6 + 0.1 * noise(100, seed=1),
    "noisier": 1.0 + noise(100, seed=1),
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_another_level_and_other_noise_are(name: str, batch: int) -> None:
    before = 1.0 + 0.1 * noise(N_BEFORE)
    watched = Watched(batch=batch).see(loss=before)
    assert watched.n_told == 0
    assert watched.see(loss=CHANGED[name]).n_told >= 1


def test_gradients_that_are_no_longer_cleared_are_a_change_once() -> None:
    watched = Watched().see(stale_grad_share=[0.0, None, 0.0, 0.0])
    assert watched.n_told == 0
    assert watched.see(stale_grad_share=[None, 1.0, 1.0]).n_told == 1
    assert watched.see(stale_grad_share=[1.0, 1.0]).n_told == 1


def test_what_was_never_otherwise_is_no_change() -> None:
    assert Watched().see(stale_grad_share=[1.0] * 10).n_told == 0


def test_unknown_and_infinite_values_are_left_out() -> None:
    values = [1.0, None, float("nan"), float("inf"), 1.1] * 200
    assert Watched().see(loss=values, grad_norm_total=values).n_told == 0


def near(loop: Loop, step: int) -> list[int]:
    return [one - step for one, _ in loop.samples if step <= one < step + 60]


def test_a_change_brings_dense_samples_for_a_while() -> None:
    loop = Loop().run(5000, step_s=0.001, sample_s=0.008)
    loop.governor.training_has_changed()
    loop.run(2000, step_s=0.001, sample_s=0.008)
    assert set(near(loop, 5000)) >= PATTERN
    assert len(near(loop, 5060)) < 6
    assert loop.worst_excess_s <= 1e-9


def test_a_cadence_that_was_asked_for_is_the_finest_there_as_well() -> None:
    loop = Loop(every=10).run(5000, step_s=0.001, sample_s=0.02)
    loop.governor.training_has_changed()
    loop.run(1000, step_s=0.001, sample_s=0.02)
    assert all(step % 10 == 0 for step, _ in loop.samples)
    assert sum(step >= 5000 for step, _ in loop.samples) >= 24


def test_changes_all_the_time_are_looked_at_now_and_then() -> None:
    loops = []
    for is_restless in (False, True):
        loop = Loop()
        for _ in range(200):
            if is_restless:
                loop.governor.training_has_changed()
            loop.run(100, step_s=0.001, sample_s=0.001)
        loops.append(loop)
    calm, restless = loops
    assert len(restless.samples) - len(calm.samples) <= 40 * 24  # an eighth of the steps apart
    assert restless.worst_excess_s <= 1e-9


def test_looking_closely_keeps_to_the_budget() -> None:
    loop = Loop().run(60_000, step_s=0.01, sample_s=0.05)  # the allowance is over
    for _ in range(10):
        loop.governor.training_has_changed()
        loop.run(10_000, step_s=0.01, sample_s=0.05)
    assert loop.worst_excess_s <= 1e-9
    assert loop.governor.overhead_share <= 0.0101
