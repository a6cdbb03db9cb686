import math

from hypothesis import given
from hypothesis import strategies as st

from telemetry.cli.output.overlay import ASCII, HEIGHT, overlay

values = st.none() | st.floats()


def test_two_courses_share_a_scale_and_meet_in_one_character() -> None:
    picture = overlay([3, 2, 1, 1], [3, 3, 2, 1], glyphs=ASCII, height=3)
    assert picture is not None
    assert picture.lines == (" .o ", "    ", "  .#")
    assert (picture.low, picture.high) == (1, 2)


def test_what_was_long_before_does_not_set_the_scale() -> None:
    picture = overlay([900, 2, 1, 1], [900, 2, 2, 2], glyphs=ASCII, height=2)
    assert picture is not None
    assert picture.lines == (" #oo", "  ..")


def test_values_that_are_not_finite_and_gaps_are_told_apart() -> None:
    picture = overlay([1, 1, 1, None], [2, math.inf, math.nan, 2], glyphs=ASCII, height=2)
    assert picture is not None
    assert picture.lines == ("oxxo", "... ")


def test_a_constant_lies_in_the_middle() -> None:
    picture = overlay([1.0], [1.0], glyphs=ASCII, height=3)
    assert picture is not None
    assert picture.lines == (" ", "#", " ")


@given(pairs=st.lists(st.tuples(values, values), max_size=60))
def test_a_picture_is_a_rectangle_whatever_the_values(
    pairs: list[tuple[float | None, float | None]],
) -> None:
    picture = overlay([left for left, _ in pairs], [right for _, right in pairs])
    if picture is not None:
        assert [len(line) for line in picture.lines] == [len(pairs)] * HEIGHT


def test_nothing_finite_is_no_picture() -> None:
    assert overlay([], []) is None
    assert overlay([None, math.nan], [None, math.inf]) is None
