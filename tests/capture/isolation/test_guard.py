import logging

import pytest

from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.errors import CaptureError

Reports = list[tuple[str, Exception]]


def a_guard(reports: Reports, *, strict: bool = False) -> Guard:
    return Guard(strict=strict, on_failure=lambda part, error: reports.append((part, error)))


def test_a_failing_part_is_switched_off_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports: Reports = []
    guard = a_guard(reports)
    first, second = ValueError("one"), ValueError("two")
    for error in (first, second):
        with guard("gradients"):
            raise error
    assert reports == [("gradients", first)]
    assert not guard.enabled("gradients")
    assert guard.enabled("weights")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "gradients failed and is switched off" in caplog.text


def test_what_works_is_left_alone() -> None:
    reports: Reports = []
    guard = a_guard(reports)
    with guard("gradients"):
        pass
    assert guard.enabled("gradients")
    assert reports == []
    assert guard("gradients") is guard("gradients")  # entering it allocates nothing


def test_guarded_blocks_nest() -> None:
    guard = a_guard([])
    with guard("outer"):
        with guard("inner"):
            raise ValueError
        with guard("outer"):
            pass
    assert guard.enabled("outer")
    assert not guard.enabled("inner")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_not_held_back(error: type[BaseException]) -> None:
    guard = a_guard([])
    with pytest.raises(error), guard("gradients"):
        raise error
    assert guard.enabled("gradients")


def test_strict_raises_every_time_with_the_cause() -> None:
    reports: Reports = []
    guard = a_guard(reports, strict=True)
    for _ in range(2):
        with pytest.raises(CaptureError, match="ValueError: no") as raised, guard("gradients"):
            raise ValueError("no")
        assert isinstance(raised.value.__cause__, ValueError)
    assert len(reports) == 1


def test_strict_passes_an_error_of_recording_through_as_it_is() -> None:
    guard = a_guard([], strict=True)
    original = CaptureError("the disk is full")
    with pytest.raises(CaptureError) as raised, guard("outer"):
        raise original
    assert raised.value is original


def test_a_report_that_fails_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(part: str, error: Exception) -> None:
        raise RuntimeError(part) from error

    guard = Guard(strict=False, on_failure=fail)
    with guard("gradients"):
        raise ValueError
    assert not guard.enabled("gradients")
    assert "could not be recorded as an event" in caplog.text


def test_contained_hands_the_error_over() -> None:
    errors: list[Exception] = []
    with contained(errors.append):
        raise ValueError("x")
    with contained(errors.append):
        pass
    assert [str(error) for error in errors] == ["x"]
    with pytest.raises(KeyboardInterrupt), contained(errors.append):
        raise KeyboardInterrupt


class Observing:
    """An object whose method is called by training."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.calls: list[int] = []

    @guarded("observing")
    def observe(self, value: int) -> int:
        self.calls.append(value)
        if value == 2:
            raise ValueError("planted")
        return value


def test_a_guarded_method_does_nothing_once_it_has_failed() -> None:
    reports: Reports = []
    observing = Observing(a_guard(reports))
    assert [observing.observe(value) for value in (1, 2, 3)] == [1, None, None]
    assert observing.calls == [1, 2]
    assert [(part, str(error)) for part, error in reports] == [("observing", "planted")]


def test_a_guarded_method_of_a_strict_guard_raises() -> None:
    observing = Observing(a_guard([], strict=True))
    with pytest.raises(CaptureError, match="observing: ValueError: planted"):
        observing.observe(2)
