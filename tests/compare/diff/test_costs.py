import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from run_makers import builder

from telemetry.compare.diff.cost_changes import cost_changes
from telemetry.compare.diff.costs import Cost, RunCosts, read_costs, step_costs
from telemetry.compare.diff.result import CostChange
from telemetry.compare.terms import Direction, Verdict
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

Floats = npt.NDArray[np.float64]


def durations(seed: int, *, n: int = 400, typical_s: float = 0.1, memory: float = 0.5) -> Floats:
    """Step times that scatter by 10 % around their median and resemble their neighbours."""
    noise = np.random.default_rng(seed).standard_normal(n)
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + math.sqrt(1 - memory**2) * noise[i]
    return np.asarray(typical_s * np.exp(0.1 * noise))


def costs_of(step_s: Floats, *, wait_s: float = math.nan, samples: float = 32.0) -> RunCosts:
    return step_costs(step_s, np.full(step_s.size, wait_s), np.full(step_s.size, samples))


def compared(base: Sequence[RunCosts], candidate: Sequence[RunCosts]) -> dict[str, CostChange]:
    return {change.name: change for change in cost_changes(base, candidate)}


def test_a_slower_step_is_a_regression_of_time_and_throughput() -> None:
    found = compared([costs_of(durations(1))], [costs_of(durations(2, typical_s=0.13))])
    step = found["step_s"]
    assert step.verdict is Verdict.REGRESSION
    assert step.change == pytest.approx(0.30, abs=0.05)
    assert step.ci_low < 0.30 < step.ci_high
    rate = found["samples_per_s"]
    assert (rate.verdict, rate.direction) == (Verdict.REGRESSION, Direction.HIGHER)
    assert rate.change == pytest.approx(1 / 1.3 - 1, abs=0.05)
    assert rate.base == pytest.approx(320, rel=0.05)


def test_runs_of_the_same_speed_are_seldom_told_apart() -> None:
    wrong = 0
    for seed in range(40):
        pair = [costs_of(durations(seed))], [costs_of(durations(1000 + seed))]
        wrong += compared(*pair)["step_s"].verdict in {Verdict.REGRESSION, Verdict.IMPROVEMENT}
    assert wrong <= 1


def test_a_machine_whose_load_changes_allows_no_verdict() -> None:
    """Half of each run was slow; a run that was slow in three quarters is not worse code."""
    calm, loaded = durations(1), durations(2)
    calm[200:] *= 1.5
    loaded[100:] *= 1.5
    assert compared([costs_of(calm)], [costs_of(loaded)])["step_s"].verdict is Verdict.INCONCLUSIVE


def test_a_tail_is_found_although_the_median_stays() -> None:
    stalled = durations(2)
    stalled[::10] *= 5
    found = compared([costs_of(durations(1))], [costs_of(stalled)])
    assert found["step_s_p95"].verdict is Verdict.REGRESSION
    assert found["step_s"].verdict is not Verdict.REGRESSION


def test_the_wait_for_data_counts_as_part_of_the_step() -> None:
    pair = [costs_of(np.full(100, 0.1), wait_s=0.0)], [costs_of(np.full(100, 0.12), wait_s=0.02)]
    wait = compared(*pair)["data_s"]
    assert (wait.base, wait.candidate) == (0.0, pytest.approx(0.02))
    assert wait.change == pytest.approx(0.2)
    assert wait.verdict is Verdict.REGRESSION


def test_groups_are_judged_by_the_scatter_between_runs() -> None:
    def group(times: Sequence[float]) -> list[RunCosts]:
        return [{"step_s": Cost(value=value, error=0.001)} for value in times]

    unsteady = compared(group([0.10, 0.14, 0.12]), group([0.13, 0.17, 0.12]))["step_s"]
    assert unsteady.verdict is Verdict.INCONCLUSIVE
    steady = compared(group([0.100, 0.101, 0.102]), group([0.120, 0.121, 0.122]))["step_s"]
    assert steady.verdict is Verdict.REGRESSION
    assert steady.base == pytest.approx(0.101)


def recorded(
    store: Path, index: int, step_s: Sequence[float], *, peak: int | None = None
) -> tuple[Run, RunCosts]:
    built = builder(store, index)
    for step, seconds in enumerate(step_s):
        built.add("steps", step=step, loss=1.0, step_s=seconds, samples=8, data_s=None, flags=1)
    if peak is not None:
        built.summary["peak_memory_bytes"] = peak
    run = load_run(built.write())
    with Store.open(store).session([run]) as session:
        return run, read_costs(session, run)


def test_slow_first_steps_are_no_cost(tmp_path: Path) -> None:
    _, costs = recorded(tmp_path, 1, [9.0, 3.0, *[0.1] * 118])
    assert costs["step_s"].value == pytest.approx(0.1)
    assert costs["step_s_p95"].value == pytest.approx(0.1)
    assert costs["samples_per_s"].value == pytest.approx(80.0)
    assert "data_s" not in costs


def test_a_run_without_step_times_has_no_costs(tmp_path: Path) -> None:
    built = builder(tmp_path, 1)
    run = load_run(built.add("steps", step=0, loss=1.0, flags=1).write())
    with Store.open(tmp_path).session([run]) as session:
        assert read_costs(session, run) == {}


def test_peak_memory_is_compared_where_both_recorded_it(tmp_path: Path) -> None:
    _, small = recorded(tmp_path, 1, [0.1] * 20, peak=2**30)
    _, large = recorded(tmp_path, 2, [0.1] * 20, peak=2**31)
    _, none = recorded(tmp_path, 3, [0.1] * 20)
    memory = compared([small], [large])["peak_memory_bytes"]
    assert (memory.verdict, memory.change) == (Verdict.REGRESSION, pytest.approx(1.0))
    assert "peak_memory_bytes" not in compared([small], [none])
