import pytest
import torch
from pictures import SIDE, templates
from torch import Tensor

from telemetry.explain.units.ascent import ascend, image_start, noise_start, variation
from telemetry.requests.explain.dream import DreamSettings

pytestmark = pytest.mark.torch


def towards(target: Tensor, how: DreamSettings, start: Tensor) -> Tensor:
    return ascend(lambda x: (x * target).flatten(1).sum(1), start, how)


def test_pictures_climb_to_what_is_asked_and_stay_between_0_and_1() -> None:
    target = templates()[:1]
    found = towards(target, DreamSettings(jitter=0), noise_start(2, (1, SIDE, SIDE), 0))
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert found[:, target[0] > 0].min() > 0.9
    assert found[:, target[0] < 0].max() < 0.1


def test_one_picture_does_not_depend_on_the_others() -> None:
    start = noise_start(3, (1, SIDE, SIDE), 1)
    together = towards(templates(), DreamSettings(steps=20), start)
    alone = towards(templates()[1:2], DreamSettings(steps=20), start[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-6)


def test_smoothness_costs_variation() -> None:
    rough = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) - 0.5
    start = noise_start(1, (1, SIDE, SIDE), 0)
    free, smooth = (towards(rough, DreamSettings(jitter=0, smooth=s), start) for s in (0.0, 100.0))
    assert float(variation(smooth)) < 0.2 * float(variation(free))


def test_variation_is_the_mean_difference_of_neighbours() -> None:
    steps = torch.arange(4.0).expand(1, 1, 3, 4) / 10
    assert float(variation(steps)) == pytest.approx(0.1)
    assert float(variation(torch.ones(1, 1, 3, 4))) == 0


def test_octaves_begin_coarse_and_keep_the_size() -> None:
    start = noise_start(1, (1, SIDE, SIDE), 0)
    found = towards(templates()[:1], DreamSettings(steps=40, octaves=3, jitter=0), start)
    assert found.shape == start.shape
    assert found[0, 0, 2:4, 2:4].mean() > 0.9


def test_a_start_image_is_where_the_ascent_begins() -> None:
    image = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    found = towards(templates()[:1], DreamSettings(steps=1, jitter=0), image_start(image))
    assert torch.allclose(found, image.clamp(0.02, 0.98), atol=0.03)


def test_shifts_are_drawn_from_the_seed_alone() -> None:
    start = noise_start(1, (1, SIDE, SIDE), 0)
    state = torch.random.get_rng_state()
    runs = [
        towards(templates()[:1], DreamSettings(steps=5, seed=seed), start) for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_last_steps_are_at_rest_so_that_a_fine_pattern_is_found() -> None:
    stripes = torch.ones(1, SIDE, SIDE)
    stripes[..., ::2] = -1
    how = DreamSettings(jitter=2, smooth=0.0)
    found = towards(stripes, how, noise_start(1, (1, SIDE, SIDE), 0))
    assert found[0][stripes > 0].min() > 0.8
    assert found[0][stripes < 0].max() < 0.2
