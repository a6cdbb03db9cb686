import io

import numpy as np
import pytest
import torch
from PIL import Image

from telemetry.explain.colours import (
    hexadecimal,
    signed_colours,
    signed_scale,
    signed_table,
    unsigned_colours,
    unsigned_table,
)
from telemetry.explain.draw import attribution_png, grey_of

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


DICHROMATS = {  # linear RGB, full severity (Machado, Oliveira and Fernandes 2009, table of 1.0)
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


def test_the_unsigned_map_grows_lighter_from_end_to_end() -> None:
    table = unsigned_table()
    assert table.shape == (256, 3)
    assert hexadecimal(table[None, [0, 255]]) == [["#00224e", "#fee838"]]
    assert (np.diff(luminance(table.astype(float))) > -1e-3).all()
    ends = unsigned_colours(np.array([-1.0, 0.0, 4.0, 9.0, np.nan]), 4.0)
    assert ends.tolist() == [table[place].tolist() for place in (0, 0, 255, 255, 0)]
