"""Parts of inputs: groups of columns, phrases, regions of an image."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.segments import segments_of

pytestmark = pytest.mark.torch


def data(values: Tensor, **attributes: object) -> ExampleSet:
    class Items(list[tuple[Tensor, int]]):
        pass

    items = Items([(values, 0)])
    for name, value in attributes.items():
        setattr(items, name, value)
    return ExampleSet(items, "items")


NAMES = ("age", "red", "green", "blue", "size")
ROW = torch.tensor([1.0, 0.0, 1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    "categorical",
    [{"colour": ["red", "green", "blue"]}, {"colour": [1, 2, 3]}],
)
def test_one_hot_columns_are_one_part(categorical: object) -> None:
    found = segments_of(ROW, data(ROW, feature_names=NAMES, categorical=categorical))
    assert found.names == ("age", "colour", "size")
    assert found.labels.tolist() == [0, 1, 1, 1, 2]
    assert found.totals(ROW).tolist() == [1.0, 1.0, 2.0]


def test_groups_without_names_are_named_by_their_columns() -> None:
    examples = data(ROW, feature_names=NAMES, categorical=[["red", "green", "blue"]])
    assert segments_of(ROW, examples).names == ("age", "red+green+blue", "size")


@pytest.mark.parametrize(
    ("categorical", "complaint"),
    [
        ({"colour": ["red", "violet"]}, "names 'violet', which is not a column"),
        ({"colour": [1, 9]}, "names 9, which is not a column"),
        ([[1, 2], [2, 3]], "twice"),
        ({"colour": "red"}, "where a list of columns is expected"),
        (7, "expected {name: columns}"),
    ],
)
def test_groups_of_unknown_columns_are_refused(categorical: object, complaint: str) -> None:
    examples = data(ROW, feature_names=NAMES, categorical=categorical)
    with pytest.raises(UsageError, match=complaint):
        segments_of(ROW, examples)


def test_a_group_is_replaced_as_one() -> None:
    """The model fails on a row that is no one-hot code."""

    class Strict(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            assert bool((rows[:, 1:4].sum(1) == 1).all())
            return torch.stack([rows[:, 0] * 0, rows[:, 2] * 3 + rows[:, 0]], dim=1)

    class Rows:
        feature_names, categorical = NAMES, {"colour": ("red", "green", "blue")}

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            code = torch.eye(3)[(index + 1) % 3]
            return torch.tensor([index / 10, *code.tolist(), 1.0]), int(index % 3 == 0)

    subject = explain.load(Strict(), dataset=Rows())
    for method in ("occlusion", "lime", "kernelshap"):
        found = attribute(subject, "0", "pred", method=method, check=False)
        assert found.top(1)[0].segment == "colour"


def text(n: int, **attributes: object) -> tuple[Tensor, ExampleSet]:
    tokens = torch.arange(n)
    return tokens, data(tokens, modality="text", **attributes)


def test_long_texts_are_joined_to_phrases_for_methods_that_draw() -> None:
    tokens, examples = text(120, tokens=lambda x: [f"w{token}" for token in x.tolist()])
    found = segments_of(tokens, examples, None, 50)
    assert len(found) == 40
    assert found.names[0] == "0-2:w0 w1 w2"
    assert found.labels[:4].tolist() == [0, 0, 0, 1]
    assert "120 tokens are joined into 40 phrases of 3" in found.note
    assert len(segments_of(tokens, examples)) == 120
    with pytest.raises(UsageError, match="120 parts are too many for lime and kernelshap"):
        segments_of(tokens, examples, "token", 50)


def test_a_text_of_fifty_tokens_stays_as_it_is() -> None:
    found = segments_of(*text(50), None, 50)
    assert (len(found), found.note) == (50, "")


def test_too_many_cells_and_columns_are_refused_with_a_remedy() -> None:
    image, row = torch.rand(1, 8, 8), torch.rand(60)
    with pytest.raises(UsageError, match=r"64 parts are too many.*use grid:6x6"):
        segments_of(image, data(image), "grid:8x8", 50)
    with pytest.raises(UsageError, match=r"60 parts are too many.*`categorical`"):
        segments_of(row, data(row), None, 50)


def test_a_small_image_has_one_cell_a_pixel() -> None:
    image = torch.rand(1, 4, 5)
    assert len(segments_of(image, data(image))) == 20


def test_regions_need_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)  # type: ignore[arg-type]
    image = torch.rand(1, 8, 8)
    with pytest.raises(UsageError, match="needs scikit-image: pip install scikit-image"):
        segments_of(image, data(image), "felzenszwalb")


def test_regions_are_as_few_as_the_method_can_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for scikit-image: a column of pixels each, and wider ones at larger scales."""

    def felzenszwalb(image: np.ndarray, *, scale: float, **_: object) -> np.ndarray:
        columns = np.arange(image.shape[1]) // (1 if scale < 200 else 4)
        return np.broadcast_to(columns, image.shape[:2])

    module = ModuleType("skimage.segmentation")
    module.__dict__.update(vars(SimpleNamespace(felzenszwalb=felzenszwalb)))
    monkeypatch.setitem(sys.modules, "skimage", ModuleType("skimage"))
    monkeypatch.setitem(sys.modules, "skimage.segmentation", module)
    image = torch.rand(3, 4, 8)
    found = segments_of(image, data(image), "felzenszwalb", 5)
    assert found.names == ("region0", "region1")
    assert found.boxes == ((0, 0, 4, 4), (0, 4, 4, 8))
    assert found.labels.shape == image.shape
    assert found.labels[2, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_scikit_image_itself_separates_two_halves() -> None:
    pytest.importorskip("skimage")
    image = torch.zeros(1, 24, 24)
    image[:, :, 12:] = 1.0
    found = segments_of(image, data(image), "felzenszwalb", 50)
    assert 2 <= len(found) <= 4  # the smoothed edge may be parts of its own
    assert len(found.labels[0, :, :11].unique()) == len(found.labels[0, :, 13:].unique()) == 1
    assert found.labels[0, 5, 3] != found.labels[0, 5, 20]


def test_a_signal_has_stretches_of_its_channels() -> None:
    signal = torch.zeros(2, 128)
    found = segments_of(signal, data(signal))
    assert len(found) == 2 * 16
    assert found.names[16] == "channel 1, samples 0-7"
    assert found.totals(torch.ones_like(signal)).tolist() == [8.0] * 32
    many = torch.zeros(12, 5)
    assert segments_of(many, data(many)).names[0] == "channel 0-1, samples 0"
    assert len(segments_of(signal, data(signal), "grid:1x4")) == 4
    with pytest.raises(UsageError, match="a signal of 2 channels and 128 samples has no such"):
        segments_of(signal, data(signal), "grid:6x6")
    volume = torch.zeros(1, 2, 3, 4)
    with pytest.raises(UsageError, match="pass rows or images, and a --model that reshapes them"):
        segments_of(volume, data(volume))


def test_images_of_many_channels_have_cells() -> None:
    spectra = torch.zeros(8, 16, 16)
    assert len(segments_of(spectra, data(spectra))) == 36
