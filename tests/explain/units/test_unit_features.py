import io

import numpy as np
import pytest
import torch
from explainable import Rows
from explainable import build as build_rows
from pictures import SIDE, Edges, Pictures, build
from PIL import Image
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.subject import load
from telemetry.explain.units.dreams import dream
from telemetry.explain.units.feature_pictures import features_png
from telemetry.explain.units.unit_features import features, standing_out
from telemetry.requests.explain.features import FeaturesSettings

pytestmark = pytest.mark.torch


class Planted(Pictures):
    """Grey pictures; number 7 is light left of column 5 and dark right of it, in rows 4 to 6."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = torch.full((30, 1, SIDE, SIDE), 0.5)
        self.inputs[7, 0, 4:7, 4], self.inputs[7, 0, 4:7, 6] = 1.0, 0.0


def test_the_planted_example_is_first_cropped_to_what_the_unit_sees() -> None:
    data = Planted()
    found = features(load(Edges(), dataset=data), "conv", FeaturesSettings(units=(0, 1, 2)))
    first = found.units[0].patches[0]
    assert (first.example.id, first.place, first.box) == ("p7", (5, 5), (4, 4, 7, 7))
    assert first.value == pytest.approx(3.0)
    assert found.field == (3, 3)
    assert found.n_examples == 30


def test_a_deconvolution_of_a_first_convolution_is_its_kernel() -> None:
    model = Edges()
    found = features(load(model, dataset=Planted()), "conv", FeaturesSettings(units=(0,)))
    map_ = found.units[0].patches[0].deconvolution
    assert map_ is not None
    assert torch.equal(map_[0, 4:7, 4:7], model.conv.weight[0, 0])
    assert float(map_.abs().sum()) == pytest.approx(6.0)
    assert found.ok


def test_without_a_switch_one_deconvolution_stands_for_all_inputs() -> None:
    found = features(load(Edges(), dataset=Pictures()), "conv", FeaturesSettings(units=(0,)))
    (unit,) = found.units
    assert len(unit.patches) > 1
    assert unit.has_one_map
    assert len(unit.shown_maps) == 1
    assert found.answer.endswith(
        "The deconvolution is the same for every input, and is shown once."
    )


def test_switches_of_pooling_make_deconvolutions_of_their_own() -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3), nn.Flatten())
    model = nn.Sequential(*layers, nn.LazyLinear(2))
    model(Pictures().inputs[:1])
    found = features(load(model, dataset=Pictures()), "3", FeaturesSettings(units=(0,)))
    (unit,) = found.units
    assert not unit.has_one_map
    assert len(unit.shown_maps) == len(unit.patches) > 1
    assert "same for every input" not in found.answer


def test_a_unit_that_never_moves_is_dead_and_has_no_patches() -> None:
    found = features(load(Edges(), dataset=Planted()), "conv", FeaturesSettings(units=(2,)))
    (unit,) = found.units
    assert unit.is_dead
    assert unit.patches == ()
    assert found.n_dead == 1
    assert "1 of them dead" in found.answer


def test_a_unit_that_answers_the_edge_of_every_image_is_not_dead() -> None:
    found = features(load(Edges(), dataset=Planted()), "conv", FeaturesSettings(units=(1,)))
    assert found.units[0].patches == ()
    assert not found.units[0].is_dead


def test_only_examples_that_move_a_unit_are_its_patches() -> None:
    """Of a unit behind a ReLU the others answer 0: these would be patches of noise."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 0, -1]).expand(1, 1, 3, 3))
        model[0].bias.fill_(-1.0)
    found = features(load(model, dataset=Planted()), "1", FeaturesSettings(units=(0,)))
    assert [patch.example.id for patch in found.units[0].patches] == ["p7"]


def test_a_relu_in_place_behind_a_layer_is_not_heard() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(100, 3)
    )
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.fill_(-20.0)
    found = features(load(model, dataset=Planted()), "0", FeaturesSettings(units=(0,)))
    assert found.units[0].patches[0].value < 0


def test_units_that_stand_out_come_first_and_those_never_above_0_last() -> None:
    values = torch.tensor([[0.0, 0, 5, -9], [0, 1, 5, -9], [0, 0, 5, -9], [9, 1, 5, -1]])
    assert standing_out(values, 4) == (0, 1, 3, 2)
    assert standing_out(values, 1) == (0,)


def test_rows_have_examples_and_no_pictures() -> None:
    data = Rows()
    subject = load(build_rows(), dataset=data)
    found = features(subject, "0", FeaturesSettings(units=(1,)))
    with subject.running():
        answers = subject.model[0](data.inputs)[:, 1]  # type: ignore[index]
    assert [p.example.index for p in found.units[0].patches] == answers.topk(9).indices.tolist()
    assert found.field is None
    assert found.checks == ()


def test_a_network_without_relus_fails_the_check_of_the_rule() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(200, 3))
    found = features(load(model, dataset=Pictures()), "1", FeaturesSettings(units=(0,)))
    assert not found.ok
    assert "1 Gelu used their own derivative" in found.checks[0].meaning


def test_fewer_examples_are_spread_over_the_data_set() -> None:
    found = features(load(build(), dataset=Pictures()), "output", FeaturesSettings(limit=10, top=1))
    assert found.n_examples == 10
    places = [patch.example.index for patch in found.units[0].patches]
    assert set(places) <= set(range(0, 30, 3))


def test_nothing_of_the_model_changes() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(200, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features(load(model, dataset=Pictures()), "2", FeaturesSettings(top=1))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model[2]._forward_hooks


def test_the_sheet_shows_patch_over_deconvolution_and_an_empty_tile_for_the_dead() -> None:
    data = Planted()
    subject = load(Edges(), dataset=data)
    found = features(subject, "conv", FeaturesSettings(units=(0, 2)))
    assert subject.examples is not None
    page = Image.open(io.BytesIO(features_png(found, UnitScale.of(subject.examples))))
    rgb = np.asarray(page.convert("RGB"))
    assert page.text["telemetry"] == found.id  # type: ignore[attr-defined]
    for colour in ("#2166ac", "#b35806"):  # both ends of the kernel
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (rgb == wanted).all(-1).sum() >= 3 * 24 * 24
    assert (rgb == 224).all(-1).sum() > 60 * 60  # the tile of the dead unit


@pytest.mark.parametrize(
    ("layer", "units", "complaint"),
    [
        ("konv", (), r"no layer 'konv'; there are conv"),
        ("conv", (3,), "units 0 to 2, no unit 3"),
    ],
)
def test_what_is_not_there_is_said(layer: str, units: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        features(load(Edges(), dataset=Pictures()), layer, FeaturesSettings(units=units))


def test_a_layer_that_gives_no_tensor_is_refused() -> None:
    class Named(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"images": images}

    class First(nn.Module):
        def forward(self, named: dict[str, Tensor]) -> Tensor:
            return named["images"].flatten(1)

    with pytest.raises(UsageError, match="layer 0 returns a dict, expected a tensor"):
        features(load(nn.Sequential(Named(), First()), dataset=Pictures()), "0")


class Words:
    """Texts of three to five tokens; token 7 stands in every third, at place 2."""

    classes = ("without", "with")
    pad_id = 0

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        tokens = torch.arange(1, 4 + index % 3)
        if index % 3 == 1:
            tokens[2] = 7
        return tokens, int(index % 3 == 1)


class Reader(nn.Module):
    """A recurrent network whose first unit follows token 7."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.gru = nn.Embedding(8, 3), nn.GRU(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)
        with torch.no_grad():
            self.embedding.weight[:, 0] = 0.0
            self.embedding.weight[7, 0] = 5.0

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of texts."""
        logits: Tensor = self.head(self.gru(self.embedding(tokens))[0].mean(1))
        return logits


class Bytes(Pictures):
    modality = "image"
    value_range = (0.0, 255.0)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (255 * self.inputs[index]).byte(), self.labels[index]


class OfBytes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = build()

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.inner(values.float() / 255)
        return logits


def test_images_of_whole_numbers_have_patches_and_no_deconvolutions() -> None:
    found = features(load(OfBytes(), dataset=Bytes()), "output", FeaturesSettings(units=(0, 1)))
    assert not found.has_deconvolutions
    assert found.ok
    assert found.units[1].patches[0].example.label == 1
    assert found.origin.examples is not None
    page = Image.open(io.BytesIO(features_png(found, UnitScale.of(found.origin.examples))))
    assert page.height < 3 * 110  # a row a unit
    with pytest.raises(UsageError, match=r"images of whole numbers \(torch.uint8\)"):
        dream(load(OfBytes(), dataset=Bytes()), "output", ["0"])


@pytest.mark.parametrize("layer", ["embedding", "gru", "head"])
def test_texts_of_any_length_have_examples_by_their_strongest_token(layer: str) -> None:
    found = features(load(Reader(), dataset=Words()), layer, FeaturesSettings(units=(0,), batch=4))
    assert found.field is None
    assert found.n_examples == 9
    if layer == "embedding":
        assert [patch.example.label for patch in found.units[0].patches] == [1, 1, 1]
