import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from explainable import Rows
from explainable import build as build_rows
from pictures import Edges, Pictures, build, templates
from PIL import Image
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.models.subject import Subject, load
from telemetry.explain.units.dream_checks import mean_correlation, own_unit
from telemetry.explain.units.dreams import Dream, dream
from telemetry.requests.explain.dream import DreamSettings

pytestmark = pytest.mark.torch

QUICK = DreamSettings(steps=60, limit=30)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return load(build(), dataset=Pictures())


@pytest.fixture(scope="module")
def dreams(subject: Subject) -> list[Dream]:
    return dream(subject, "output", ["0", "1", "2"], QUICK)


def check(found: Dream, name: str) -> bool:
    return next(entry for entry in found.checks if entry.name == name).ok


def test_a_picture_shows_what_the_unit_looks_for(dreams: list[Dream]) -> None:
    for index, found in enumerate(dreams):
        light = templates()[index] > 0
        assert found.pictures[0][light].mean() > found.pictures[0][~light].mean() + 0.5
        assert found.ok
        assert found.z > 5
        assert found.best_unit == index
        assert found.activations[0] > found.real_max
        assert list(found.activations) == sorted(found.activations, reverse=True)


def test_real_examples_stand_beside_it_the_largest_first(
    subject: Subject, dreams: list[Dream]
) -> None:
    (best, value), *_ = dreams[1].top
    with torch.no_grad():
        logits = subject.model(torch.stack([Pictures()[index][0] for index in range(30)]))
    assert int(logits[:, 1].argmax()) == best.index
    assert value == pytest.approx(float(logits[:, 1].max()))
    assert len(dreams[1].top) == 9


def test_the_answer_says_what_it_is_worth(dreams: list[Dream]) -> None:
    said = dreams[0].answer
    assert said.startswith('unit 0 of output ("left") reaches an activation of ')
    assert "above 30 real examples" in said
    assert "random weights reaches" in said


def test_units_that_look_for_nearly_the_same_are_named(dreams: list[Dream]) -> None:
    said = replace(dreams[0], best_unit=2).answer
    assert said.endswith(
        "The picture of unit 2 activates it even more: both units look for nearly the same."
    )
    assert "nearly the same" not in dreams[0].answer


def test_the_page_holds_every_seed_the_random_network_and_real_examples(
    dreams: list[Dream],
) -> None:
    page = Image.open(io.BytesIO(dreams[0].figure("png")))
    assert page.text["telemetry"] == dreams[0].id  # type: ignore[attr-defined]
    assert page.height > 4 * 120


def test_a_dead_unit_is_called_dead(subject: Subject) -> None:
    (found,) = dream(subject, "2", ["3"], QUICK)
    assert found.is_dead
    assert not check(found, "above_noise")
    assert "is dead" in found.answer


def test_a_unit_that_noise_leaves_off_is_climbed_from_a_real_example() -> None:
    model = build()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([-5.0, 0.0, 0.0, 0.0]))
    (found,) = dream(load(model, dataset=Pictures()), "2", ["0"], QUICK)
    assert found.from_real
    assert found.ok
    assert found.activations[0] > 2 * found.real_max
    assert found.answer.endswith("the picture started from a real example.")


def test_one_place_of_a_channel_has_its_pattern_there() -> None:
    (found,) = dream(load(Edges(), dataset=Pictures()), "conv", ["0@5,5"], QUICK)
    left, right = found.pictures[0][0, 4:7, 4], found.pictures[0][0, 4:7, 6]
    assert left.min() > right.max() + 0.3
    assert check(found, "own_unit")


def test_a_whole_channel_need_not_agree_pixel_by_pixel() -> None:
    (found,) = dream(load(Edges(), dataset=Pictures()), "conv", ["1"], QUICK)
    assert "seeds_agree" not in {entry.name for entry in found.checks}
    assert found.seed_correlation is not None


def test_an_example_to_begin_with_gives_one_picture(subject: Subject) -> None:
    start = DreamSettings(steps=2, octaves=2, start="p4", limit=30)
    (found,) = dream(subject, "output", ["0"], start)
    assert len(found.pictures) == 1
    assert found.seed_correlation is None
    assert torch.allclose(found.pictures[0], Pictures()[4][0], atol=0.15)


def test_a_file_to_begin_with_is_an_image_of_the_same_shape(
    subject: Subject, tmp_path: Path
) -> None:
    np.save(tmp_path / "grey.npy", np.full((1, 12, 12), 0.25, dtype=np.float32))
    start = DreamSettings(steps=1, start=str(tmp_path / "grey.npy"), limit=30)
    (found,) = dream(subject, "output", ["0"], start)
    assert torch.allclose(found.pictures[0], torch.tensor(0.25), atol=0.02)
    assert found.params["start"] == "grey.npy"  # a run that goes elsewhere names no folder of here
    np.save(tmp_path / "small.npy", np.zeros((1, 4, 4), dtype=np.float32))
    with pytest.raises(UsageError, match=r"shape \(1, 4, 4\), expected \(1, 12, 12\)"):
        dream(subject, "output", ["0"], replace(start, start=str(tmp_path / "small.npy")))


def test_a_smaller_batch_makes_the_same_pictures(subject: Subject, dreams: list[Dream]) -> None:
    again = dream(subject, "output", ["0", "1", "2"], replace(QUICK, batch=5))
    for before, after in zip(dreams, again, strict=True):
        assert after.id == before.id
        assert torch.allclose(after.pictures, before.pictures, atol=1e-5)
        assert after.forwards == before.forwards


def test_a_layer_that_passes_no_gradient_is_refused() -> None:
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)

    with pytest.raises(UsageError, match="layer 0 passes no gradient"):
        dream(load(nn.Sequential(Cut(), nn.Linear(144, 3)), dataset=Pictures()), "0", ["0"], QUICK)


def test_model_modes_and_random_states_are_as_before() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(200, 3))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    dream(load(model, dataset=Pictures()), "0", ["1"], DreamSettings(steps=2))
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("layer", "unit", "complaint"),
    [
        ("outptu", "0", r"no layer 'outptu'; there are .*output"),
        ("output", "3", "units 0 to 2, no unit 3"),
        ("output", "0@1,1", "has no rows"),
        ("output", "first", "write a number, or 7@3,4"),
    ],
)
def test_what_is_not_there_is_said(subject: Subject, layer: str, unit: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        dream(subject, layer, [unit], QUICK)


def test_a_class_may_be_called_by_its_name() -> None:
    named = Pictures()
    named.classes = ("left", "middle", "right")  # type: ignore[attr-defined]
    short = replace(QUICK, steps=2)
    subject = load(build(), dataset=named)
    (found,) = dream(subject, "output", ["right"], short)
    assert found.unit.index == 2
    with pytest.raises(UsageError, match="or a class: left, middle, right"):
        dream(subject, "output", ["top"], short)


def test_places_outside_a_channel_and_inputs_that_are_no_images_are_refused() -> None:
    with pytest.raises(UsageError, match="12 rows and 12 columns, no unit 0@12,0"):
        dream(load(Edges(), dataset=Pictures()), "conv", ["0@12,0"], QUICK)
    with pytest.raises(UsageError, match="are not images"):
        dream(load(build_rows(), dataset=Rows()), "0", ["0"], QUICK)


def test_another_picture_may_lead_by_a_deviation_or_a_hundredth_of_the_rise() -> None:
    assert own_unit(0.9, 10.0, 3).ok
    assert not own_unit(1.1, 10.0, 3).ok
    assert own_unit(1.1, 800.0, 3).ok  # of pictures hundreds of deviations above all examples
    assert not own_unit(9.0, 800.0, 3).ok


def test_correlation_of_pictures_leaves_out_those_with_themselves() -> None:
    pictures = torch.tensor([[0.0, 1, 2], [0.0, 2, 4], [2.0, 1, 0]])
    assert mean_correlation(pictures, pictures) == pytest.approx((1 - 1 - 1) / 3)
    assert mean_correlation(pictures[:1], pictures[1:]) == pytest.approx(0, abs=1e-6)
