from pathlib import Path

import pytest
from judged_runs import learning
from running_run import RunningRun

from telemetry import diagnose_run, watch_runs
from telemetry.compare.watch.watcher import LEAST_REST_S, RunWatch
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.store.store import Store

BROKEN = [*learning(100), *[float("nan")] * 5]


class Times:
    """A clock, and the processor's, that move when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.spent_s = 0.0

    def spend(self) -> float:
        """Every reading of the processor's clock finds it half a second later."""
        self.spent_s += 0.5
        return self.spent_s


@pytest.fixture
def running(store: Path) -> RunningRun:
    return RunningRun(store)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def watched(store: Path, times: Times) -> RunWatch:
    opened = Store.open(store)
    return RunWatch(
        opened,
        opened.runs()[0].ref,
        diagnose=lambda run: diagnose_run(opened, run),
        clock=lambda: times.now_s,
        spent=times.spend,
    )


def test_a_run_is_read_again_when_it_has_written_and_the_rest_is_over(
    store: Path, running: RunningRun
) -> None:
    times = Times()
    watch = watched(store, times)
    first = watch.look()
    assert first is not None
    assert first.curves == ()
    assert watch.look() is None
    running.grow(learning(100))
    assert watch.look() is None, "a look of half a second is followed by a rest of fifty"
    times.now_s = 49.9
    assert watch.look() is None
    times.now_s = 50.1
    second = watch.look()
    assert second is not None
    assert second.run.steps == 100
    times.now_s = 200.0
    assert watch.look() is None, "nothing was written"


def test_a_cheap_look_rests_as_well(store: Path, running: RunningRun) -> None:
    times = Times()
    opened = Store.open(store)
    watch = RunWatch(
        opened,
        opened.runs()[0].ref,
        diagnose=lambda run: diagnose_run(opened, run),
        clock=lambda: times.now_s,
        spent=lambda: 0.0,
    )
    watch.look()
    running.grow(learning(100))
    times.now_s = LEAST_REST_S - 0.1
    assert watch.look() is None
    times.now_s = LEAST_REST_S
    assert watch.look() is not None


def test_a_finding_that_comes_while_the_run_is_watched_is_fresh(
    store: Path, running: RunningRun
) -> None:
    times = Times()
    watch = watched(store, times)
    running.grow(learning(100))
    watch.look()
    sight = watch.judge()
    assert sight is not None
    assert sight.diagnosis is not None
    assert (sight.diagnosis.findings, sight.fresh) == ((), frozenset())
    assert watch.judge() is None
    running.grow(BROKEN)
    times.now_s = 100.0
    watch.look()
    sight = watch.judge()
    assert sight is not None
    assert "non_finite" in sight.fresh


def test_the_end_of_a_run_is_read_and_judged_at_once(store: Path, running: RunningRun) -> None:
    watch = watched(store, Times())
    running.grow(learning(100))
    watch.look()
    watch.judge()
    running.grow(BROKEN, status=Status.FAILED)
    sight = watch.look()
    assert sight is not None
    assert sight.run.status is Status.FAILED
    judged = watch.judge()
    assert judged is not None
    assert judged.diagnosis is not None
    assert judged.diagnosis.findings[0].detector == "non_finite"


def test_a_run_that_is_deleted_ends_the_watch(store: Path, running: RunningRun) -> None:
    watch = watched(store, Times())
    watch.look()
    running.delete()
    with pytest.raises(StoreUnreadable, match="deleted while it was watched"):
        watch.look()


@pytest.mark.usefixtures("running")
def test_too_many_runs_are_refused(store: Path) -> None:
    opened = Store.open(store)
    with pytest.raises(UsageError, match="choose at most 20"):
        watch_runs(opened, opened.runs() * 21)
