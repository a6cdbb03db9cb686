from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from example_results import DIAGNOSIS, HEALTHY
from running_run import RunningRun

from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.diagnose.follow import REST_FACTOR, Change, Look, changes, follow_run, run_to_follow
from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Status
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

ROOT = DIAGNOSIS.findings[0]


@pytest.fixture
def running(tmp_path: Path) -> RunningRun:
    return RunningRun(tmp_path)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def looks(
    running: RunningRun,
    happens: Iterable[Callable[[], object]],
    *,
    judge: Callable[[Run], Diagnosis] = lambda _: HEALTHY,
    clock: Clock | None = None,
) -> Iterator[Look]:
    """One thing happens in each pause; a pause without one fails the test."""
    things = iter(happens)

    def pause() -> None:
        next(things)()

    ref = load_run(running.path).ref
    return follow_run(ref, diagnose=judge, pause=pause, clock=clock or Clock())


def nothing() -> None:
    pass


def test_a_run_is_judged_again_only_when_its_files_have_changed(running: RunningRun) -> None:
    happens = [
        nothing,
        lambda: running.grow([1.0] * 10),
        nothing,
        nothing,
        lambda: running.grow([1.0] * 20),
        lambda: running.grow([1.0] * 20, status=Status.FINISHED),
    ]
    seen = [(look.run.steps, look.is_last) for look in looks(running, happens)]
    assert seen == [(0, False), (10, False), (20, False), (20, True)]


def test_a_run_that_has_ended_is_judged_once(running: RunningRun) -> None:
    running.grow([1.0], status=Status.FAILED)
    assert [look.is_last for look in looks(running, [])] == [True]


def test_a_run_whose_process_died_has_ended(running: RunningRun) -> None:
    *_, last = looks(running, [nothing, running.die])
    assert last.is_last
    assert last.run.status is Status.KILLED


def test_a_deleted_run_is_an_error_that_says_so(running: RunningRun) -> None:
    with pytest.raises(StoreUnreadable, match="deleted while telemetry followed it"):
        list(looks(running, [nothing, running.delete]))


def test_a_run_deleted_while_it_is_judged_as_well(running: RunningRun) -> None:
    def judge(run: Run) -> Diagnosis:
        running.delete()
        raise StoreUnreadable(f"{run.run}: no such file")

    with pytest.raises(StoreUnreadable, match="deleted while telemetry followed it"):
        list(looks(running, [], judge=judge))


def test_after_a_long_diagnosis_comes_a_longer_rest(running: RunningRun) -> None:
    clock = Clock()
    judged_s: list[float] = []

    def judge(_run: Run) -> Diagnosis:
        judged_s.append(clock.now_s)
        clock.now_s += 10
        return HEALTHY

    def time_passes() -> None:
        clock.now_s += 10
        steps = int(clock.now_s)
        ended = steps >= 100
        running.grow([1.0] * steps, status=Status.FINISHED if ended else Status.RUNNING)

    list(looks(running, iter(lambda: time_passes, None), judge=judge, clock=clock))
    assert judged_s == [0, 10 * (1 + REST_FACTOR), 100]


def test_what_is_new_worse_or_over_is_a_change() -> None:
    warned = replace(HEALTHY, findings=(replace(ROOT, severity=Severity.WARNING),))
    failed = replace(HEALTHY, findings=(replace(ROOT, severity=Severity.ERROR),))

    def kinds(before: Diagnosis | None, after: Diagnosis) -> list[tuple[Change, Severity]]:
        return [(entry.change, entry.finding.severity) for entry in changes(before, after)]

    assert kinds(None, warned) == [(Change.NEW, Severity.WARNING)]
    assert kinds(warned, failed) == [(Change.WORSE, Severity.ERROR)]
    assert kinds(failed, warned) == []
    assert kinds(failed, HEALTHY) == [(Change.OVER, Severity.ERROR)]


def test_other_numbers_are_no_news() -> None:
    before = replace(HEALTHY, findings=(ROOT,))
    after = replace(HEALTHY, findings=(replace(ROOT, value=9.0, last_step=999, layers=("a", "b")),))
    assert changes(before, after) == ()


def followed(store: Path, happens: Iterable[Callable[[], object]]) -> tuple[Run, list[str]]:
    """The run that is followed, and the latest runs that were named before a wait for it."""
    things = iter(happens)
    named: list[str] = []

    def waits(latest: Run | None) -> None:
        named.append(latest.short if latest else "")

    def pause() -> None:
        next(things)()

    return run_to_follow(Store.expected(store), waits=waits, pause=pause), named


def test_a_run_that_is_being_recorded_needs_no_wait(running: RunningRun, tmp_path: Path) -> None:
    run, named = followed(tmp_path, [])
    assert run.ref.path == running.path
    assert named == []


def test_a_run_that_began_and_ended_between_two_looks_is_judged(
    running: RunningRun, tmp_path: Path
) -> None:
    running.grow([1.0], status=Status.FINISHED)

    def short_training() -> None:
        RunningRun(tmp_path, run="20260102-040000-bbbbbb").grow([1.0], status=Status.FAILED)

    run, named = followed(tmp_path, [nothing, short_training])
    assert (run.short, run.status) == ("bbbbbb", Status.FAILED)
    assert named == ["aaaaaa"]


def test_a_run_that_is_resumed_has_begun(running: RunningRun, tmp_path: Path) -> None:
    running.die()
    run, named = followed(tmp_path, [nothing, lambda: running.grow([1.0, 1.0])])
    assert (run.ref.path, run.status) == (running.path, Status.RUNNING)
    assert named == ["aaaaaa"]


def test_a_manifest_that_is_written_again_begins_no_run(
    running: RunningRun, tmp_path: Path
) -> None:
    running.grow([1.0], status=Status.FINISHED)
    happens = [
        lambda: running.grow([1.0, 1.0], status=Status.FINISHED),
        running.delete,
        lambda: RunningRun(tmp_path, run="20260102-040000-bbbbbb"),
    ]
    assert followed(tmp_path, happens)[0].short == "bbbbbb"


def test_the_first_run_of_a_store_without_a_folder_is_waited_for(tmp_path: Path) -> None:
    store = tmp_path / "later"
    run, named = followed(store, [nothing, store.mkdir, lambda: RunningRun(store)])
    assert run.short == "aaaaaa"
    assert named == [""]
