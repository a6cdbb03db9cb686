import numpy as np
import pytest

from telemetry.explain.pictures.characters import level_lines, mask_lines, sign_lines

pytestmark = pytest.mark.torch


def test_a_map_is_its_signs_and_little_is_a_dot() -> None:
    assert sign_lines(np.array([[1.0, -0.9, 0.1], [0.0, np.nan, -0.21]])) == ["+-.", "..-"]
    assert sign_lines(np.zeros((1, 2))) == [".."]


def test_neighbours_of_a_large_map_are_added_up() -> None:
    values = np.zeros((48, 30))
    values[:2, :2] = [[3.0, -1.0], [0.0, 0.0]]
    values[47, 29] = -5.0
    lines = sign_lines(values)
    assert (len(lines), len(str(lines[0]))) == (24, 15)
    assert lines[0] == "+" + 14 * "."
    assert lines[-1] == 14 * "." + "-"


def test_masks_lie_over_one_another() -> None:
    first = np.array([[True, True, False]])
    assert mask_lines([("o", first), ("#", np.array([[False, True, False]]))]) == ["o#."]


def test_levels_go_from_dark_to_light() -> None:
    picture = np.array([[0, 128, 255]], dtype=np.uint8)[..., None].repeat(3, axis=2)
    assert level_lines(picture) == [" +@"]
