import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.axes import along, in_units, place
from telemetry.compare.terms import Axis
from telemetry.errors import UsageError


def series(points: dict[int, float]) -> Series:
    return Series(steps=np.array(list(points)), values=np.array(list(points.values())))


def test_values_lie_where_the_clock_stood_after_their_step() -> None:
    clock = series({0: 64.0, 1: 128.0, 2: 160.0})
    placed = along({"loss": series({0: 3.0, 2: 1.0})}, {Axis.SAMPLES: clock}, Axis.SAMPLES, "a")
    assert placed["loss"].steps.tolist() == [64, 160]
    assert placed["loss"].values.tolist() == [3.0, 1.0]


def test_an_evaluation_before_the_first_step_and_after_the_last_is_kept() -> None:
    clock = series({5: 10.0, 6: 20.0})
    placed = along(
        {"val_loss": series({0: 9.0, 5: 2.0, 9: 1.0})}, {Axis.TOKENS: clock}, Axis.TOKENS, "a"
    )
    assert placed["val_loss"].steps.tolist() == [0, 10, 20]


def test_of_values_at_one_position_the_last_stays() -> None:
    clock = series({0: 10.0, 1: 10.0, 2: 20.0})
    placed = along({"loss": series({0: 3.0, 1: 2.0, 2: 1.0})}, {Axis.TIME: clock}, Axis.TIME, "a")
    assert placed["loss"].values.tolist() == [2.0, 1.0]


def test_an_axis_that_was_not_recorded_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"base-1 has no tokens .* telemetry.log"):
        along({"loss": series({0: 1.0})}, {}, Axis.TOKENS, "base-1")


def test_steps_need_no_clock() -> None:
    curve = series({0: 1.0})
    assert along({"loss": curve}, {}, Axis.STEP, "a")["loss"] is curve


def test_positions_are_told_in_the_unit_of_their_axis() -> None:
    told = [place(axis, 12_500) for axis in Axis]
    assert told == ["step 12500", "12500 samples", "12500 tokens", "12.5 s"]
    assert in_units(Axis.TIME, 12_500) == 12.5


def test_a_clock_that_was_read_seldom_runs_evenly_between() -> None:
    clock = series({0: 10.0, 10: 110.0})
    placed = along({"loss": series({5: 1.0})}, {Axis.TOKENS: clock}, Axis.TOKENS, "a")
    assert placed["loss"].steps.tolist() == [60]
