import numpy as np
import pytest
from colour_difference import SEEN_WITH, ciede2000, seen

from telemetry.explain.pictures.colours import (
    ends,
    hexadecimal,
    ink_on,
    signed_colours,
    signed_scale,
    signed_table,
    unsigned_colours,
    unsigned_table,
)

pytestmark = pytest.mark.torch


def luminance(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_the_map_is_neutral_in_the_middle_and_darkens_to_both_ends() -> None:
    table = signed_table()
    assert table.shape == (257, 3)
    assert hexadecimal(table[None, [0, 128, 256]]) == [["#b35806", "#f7f7f7", "#2166ac"]]
    light = luminance(table.astype(float))
    assert (np.diff(light[:129]) > -1e-3).all()
    assert (np.diff(light[128:]) < 1e-3).all()


def test_equal_values_of_other_sign_lie_equally_far_from_neutral() -> None:
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, np.nan])
    colours = signed_colours(values, 2.0)
    assert colours[2].tolist() == colours[5].tolist() == signed_table()[128].tolist()
    assert colours[0].tolist() == signed_table()[0].tolist()
    assert colours[1].tolist() == signed_table()[64].tolist()
    assert colours[3].tolist() == signed_table()[192].tolist()
    assert signed_colours(values, 0.0)[0].tolist() == signed_table()[128].tolist()


def test_the_scale_is_the_99th_percentile_of_what_is_finite() -> None:
    values = np.arange(-100, 101, dtype=float)
    assert signed_scale(values) == pytest.approx(np.percentile(np.abs(values), 99))
    assert signed_scale(np.array([np.nan])) == 0.0


def test_the_colour_difference_is_that_of_the_published_pairs() -> None:
    pairs = [  # Sharma, Wu and Dalal 2005, table 1
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ]
    for one, other, difference in pairs:
        assert ciede2000(one, other) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("vision", SEEN_WITH)
def test_both_ends_differ_to_every_kind_of_colour_vision(vision: str) -> None:
    against, _, speaks_for = hexadecimal(ends()[None])[0]
    assert ciede2000(seen(against, vision), seen(speaks_for, vision)) >= 40


def test_a_red_green_pair_would_not_do() -> None:
    red, green = (seen(colour, "deuteranopia") for colour in ("#B2182B", "#1A9850"))
    assert ciede2000(red, green) < 40


def test_ink_is_readable_on_every_colour_of_the_map() -> None:
    light = luminance(signed_table().astype(float))
    for colour, behind in zip(signed_table().tolist(), light, strict=True):
        before = luminance(np.array(ink_on(colour), dtype=float))
        assert (max(before, behind) + 0.05) / (min(before, behind) + 0.05) >= 4.5


def test_the_unsigned_map_grows_lighter_from_end_to_end() -> None:
    table = unsigned_table()
    assert table.shape == (256, 3)
    assert hexadecimal(table[None, [0, 255]]) == [["#00224e", "#fee838"]]
    assert (np.diff(luminance(table.astype(float))) > -1e-3).all()
    ends = unsigned_colours(np.array([-1.0, 0.0, 4.0, 9.0, np.nan]), 4.0)
    assert ends.tolist() == [table[place].tolist() for place in (0, 0, 255, 255, 0)]
