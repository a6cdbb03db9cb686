import colorsys

import pytest
import torch
from torch import Tensor

from telemetry.explain.inputs import image_changes as changes
from telemetry.explain.inputs.hue import from_hsv, to_hsv

pytestmark = pytest.mark.torch


def photo(channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(channels, 6, 8, generator=generator)


def dot(y: int, x: int) -> Tensor:
    image = torch.zeros(1, 5, 5)
    image[0, y, x] = 1.0
    return image


def test_hue_is_python_s_own() -> None:
    image = photo()
    hue, saturation, value = to_hsv(image)
    for y, x in ((0, 0), (2, 3), (5, 7)):
        expected = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
        found = [float(part[y, x]) for part in (hue, saturation, value)]
        assert found == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(from_hsv(hue, saturation, value), image, atol=1e-6)


def test_a_third_of_the_circle_takes_red_to_green() -> None:
    red = torch.zeros(3, 2, 2)
    red[0] = 0.8
    assert torch.allclose(changes.hue_rotated(red, 120), red[[1, 0, 2]], atol=1e-6)
    assert torch.allclose(changes.hue_rotated(red, -120), red[[1, 2, 0]], atol=1e-6)


def test_saturation_zero_is_grey_of_the_same_value() -> None:
    image = photo()
    grey = changes.saturated(image, 0.0)
    assert torch.allclose(grey, image.max(0).values.expand(3, -1, -1), atol=1e-6)


def test_movements_go_where_they_are_said_to() -> None:
    right_of_centre = dot(2, 3)
    assert torch.allclose(changes.rotated(right_of_centre, 90), dot(1, 2), atol=1e-5)
    assert torch.allclose(changes.shifted(right_of_centre, 0.2), dot(2, 4), atol=1e-5)
    assert torch.allclose(changes.scaled(photo(), 1.0), photo(), atol=1e-6)
    assert changes.cropped(dot(2, 2), 0.5).sum() > 2  # the middle is enlarged


def test_a_wide_image_keeps_its_shape_under_rotation() -> None:
    wide = torch.zeros(1, 5, 9)
    wide[0, 2, 6] = 1.0  # two to the right of the centre
    turned = changes.rotated(wide, 90)
    assert turned[0, 0, 4] == pytest.approx(1.0, abs=1e-5)  # two above it


def test_contrast_and_gamma_and_brightness() -> None:
    image = torch.tensor([[[0.2, 0.6]]])
    assert torch.allclose(changes.contrasted(image, 2.0), torch.tensor([[[0.0, 0.8]]]))
    assert torch.allclose(changes.gamma_corrected(image, 2.0), torch.tensor([[[0.04, 0.36]]]))
    assert torch.allclose(changes.brightened(image, 0.5), torch.tensor([[[0.7, 1.1]]]))


def test_blur_keeps_what_is_flat_and_the_sum() -> None:
    assert torch.allclose(changes.blurred(torch.full((2, 9, 9), 0.3), 2.0), torch.tensor(0.3))
    image = torch.zeros(1, 15, 15)
    image[0, 7, 7] = 1.0
    soft = changes.blurred(image, 1.0)
    assert float(soft.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(soft[0, 7, 7]) == pytest.approx(1 / (2 * torch.pi), abs=2e-3)


def test_noise_grows_along_one_field() -> None:
    image = photo()
    once, twice = (changes.noisy(image, deviation, 3) - image for deviation in (0.1, 0.2))
    assert torch.allclose(2 * once, twice, atol=1e-5)
    assert not torch.allclose(once, changes.noisy(image, 0.1, 4) - image)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_of_high_quality_is_near(channels: int) -> None:
    flat = torch.full((channels, 16, 16), 0.4)
    assert torch.allclose(changes.compressed(flat, 95), flat, atol=0.01)
