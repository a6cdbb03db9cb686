import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.cli.output.sparklines import ASCII_LEVELS, BLOCKS, bar, condense, sparkline

VALUES = st.lists(st.none() | st.floats(), max_size=60)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_falling_series_falls() -> None:
    assert sparkline([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) == BLOCKS[::-1]


def test_what_is_not_a_number_is_seen_as_what_it_is() -> None:
    assert sparkline([1.0, math.nan, math.inf, -math.inf, None, 2.0]) == "▁x^v █"


def test_a_flat_series_is_a_flat_line() -> None:
    assert sparkline([3.0, 3.0, 3.0]) == "▁▁▁"
    assert sparkline([]) == ""


def test_ascii_levels_take_the_place_of_blocks() -> None:
    assert sparkline([0.0, 1.0], levels=ASCII_LEVELS) == "_#"


def test_extremes_of_a_double_do_not_overflow() -> None:
    assert sparkline([-1.7e308, 0.0, 1.7e308]) == "▁▅█"


@UNHURRIED
@given(VALUES, st.integers(min_value=1, max_value=40))
def test_a_condensed_series_has_at_most_the_width_and_one_character_each(
    values: list[float | None], width: int
) -> None:
    condensed = condense(values, width)
    assert len(condensed) == min(len(values), width)
    assert len(sparkline(condensed)) == len(condensed)


@UNHURRIED
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60), st.integers(1, 40))
def test_the_highest_level_marks_the_largest_value(values: list[float], width: int) -> None:
    condensed = [value for value in condense(values, width) if value is not None]
    line = sparkline(condensed)
    if max(condensed) / 2 > min(condensed) / 2:
        assert line[condensed.index(max(condensed))] == BLOCKS[-1]
        assert line[condensed.index(min(condensed))] == BLOCKS[0]


def test_one_nan_of_a_long_series_is_not_averaged_away() -> None:
    values: list[float | None] = [1.0] * 1000
    values[700] = math.nan
    assert "x" in sparkline(condense(values, 10))


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [bar(share, width=10) for share in (0.0, 0.61, 1.0, 7.0, math.nan)] == [
        "",
        "######",
        "##########",
        "##########",
        "",
    ]
