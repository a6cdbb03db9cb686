"""Test sets that lack nothing, light, a class or words of their training sets."""

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain import coverage
from telemetry.explain.inputs.attributes import image_values, measured
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.training_gaps.neighbours import nearest_distances
from telemetry.explain.training_gaps.training_coverage import Coverage
from telemetry.requests.explain.coverage import CoverageSettings

pytestmark = pytest.mark.torch

SIDE = 6


class Blocks:
    """Images of one bright row of six, the class; of some classes, in some light."""

    classes = tuple("012345")
    value_range = (0.0, 1.0)

    def __init__(self, classes: tuple[int, ...], seed: int, light: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = [label for label in classes for _ in range(40)]
        self.images = 0.2 * torch.rand(len(self.labels), 1, SIDE, SIDE, generator=generator) + light
        for image, label in zip(self.images, self.labels, strict=True):
            image[0, label] += 0.5

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, dict[str, object]]:
        return self.images[index], self.labels[index], {"size": index % 7, "file": str(index)}

    def example_id(self, index: int) -> str:
        return f"e{index}"


class Rows(nn.Module):
    """Answers by the brightest row, of those it knows."""

    def __init__(self, known: int = 5) -> None:
        super().__init__()
        self.known = known
        self.head = nn.Linear(SIDE, SIDE, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(10 * torch.eye(SIDE))

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0].mean(2)
        logits = self.head(rows - rows.mean(1, keepdim=True))
        logits[:, self.known :] -= 100
        return logits


KNOWN = (0, 1, 2, 3, 4)
TRAIN = ExampleSet(Blocks(KNOWN, seed=1), "train")


def compared(test: Blocks, settings: CoverageSettings | None = None) -> Coverage:
    return coverage(explain.load(Rows()), TRAIN, ExampleSet(test, "test"), settings)


def test_a_control_is_covered() -> None:
    found = compared(Blocks(KNOWN, seed=2))
    assert found.reported == []
    assert not found.has_finding
    assert all(gap.outside_share <= 0.02 for gap in found.gaps)
    assert found.accuracy == 1.0
    assert found.forwards == 400 + 64  # 32 of each set tell how outputs are read
    assert found.warnings == ("m_file has too many values to form groups",)


def test_data_sets_are_objects_entry_points_or_that_of_the_subject() -> None:
    subject = explain.load(Rows(), dataset=Blocks(KNOWN, seed=2))
    found = coverage(subject, Blocks(KNOWN, seed=1))
    assert (found.train, found.train_n) == ("data", len(Blocks(KNOWN, seed=1)))
    assert len(found.test_ids) == len(Blocks(KNOWN, seed=2))
    with pytest.raises(UsageError, match="no test examples were given"):
        coverage(explain.load(Rows()), Blocks(KNOWN, seed=1))


def test_another_light_is_named_with_its_bound() -> None:
    found = compared(Blocks(KNOWN, seed=2, light=0.25))
    names = {gap.attribute for gap in found.reported}
    assert "brightness" in names
    assert "contrast" not in names
    bright = next(gap for gap in found.gaps if gap.attribute == "brightness")
    trained = [float(example.input.mean()) for example in TRAIN.examples()]
    assert bright.train_high == pytest.approx(max(trained), abs=1e-3)
    assert bright.outside_share == 1.0
    assert "training examples have brightness above" in bright.sentence
    assert not found.has_finding  # the model does not mind


def test_a_class_that_training_lacks_is_far_away_and_answered_wrongly() -> None:
    found = compared(Blocks((0, 1, 2, 3, 4, 5), seed=2))
    label = next(gap for gap in found.gaps if gap.kind == "cell")
    assert (label.attribute, label.outside_n) == ("label = 5", 40)
    assert label.is_finding
    assert label.error_outside == 1.0
    near = next(gap for gap in found.gaps if gap.kind == "knn")
    assert near.is_finding
    assert found.distances is not None
    lacking = near.outside[200:].mean()
    assert lacking >= 0.95
    farthest = found.examples(near)
    assert all(int(name[1:]) >= 200 for name in farthest)
    assert len(near.neighbours[0]) == 5
    assert found.reported[0].is_finding


def test_a_layer_can_be_named() -> None:
    found = compared(Blocks(KNOWN, seed=2), CoverageSettings(layer="head", k=3))
    assert found.distances is not None
    with pytest.raises(UsageError, match="no layer 'tail'; there are head"):
        compared(Blocks(KNOWN, seed=2), CoverageSettings(layer="tail"))
    with pytest.raises(UsageError, match="--k 200: the training set has only 200 examples"):
        compared(Blocks(KNOWN, seed=2), CoverageSettings(k=200))


def test_a_model_without_a_linear_layer_says_so() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0].mean(2)

    found = coverage(explain.load(Plain()), TRAIN, ExampleSet(Blocks(KNOWN, seed=2), "test"))
    assert found.distances is None
    assert any("choose one with --layer" in warning for warning in found.warnings)


class Texts:
    modality = "text"

    def __init__(self, texts: list[list[int]]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor(self.texts[index]), self.texts[index][0] % 2


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.table(tokens).mean(1))


def test_texts_have_a_length_and_unknown_tokens() -> None:
    train = Texts([[i % 10, (i + 1) % 10, (i + 3) % 10] + [1] * (i % 2) for i in range(60)])
    test = Texts([[i % 10, 40, 41, 42, 43, 44] for i in range(30)])
    torch.manual_seed(0)
    subject = explain.load(Reader())
    found = coverage(subject, ExampleSet(train, "train"), ExampleSet(test, "test"))
    names = {gap.attribute: gap for gap in found.reported}
    assert names["length"].train_high == pytest.approx(4.0)
    assert names["unknown tokens"].outside_share == 1.0
    values = measured(ExampleSet(train, "train"), ExampleSet(test, "test"))
    assert values[1]["unknown tokens"].tolist() == pytest.approx([5 / 6] * 30)


def test_a_word_is_unknown_where_no_other_training_text_has_it() -> None:
    train = ExampleSet(Texts([[1, 2, 9], [1, 2], [2, 1, 1, 3]]), "train")
    test = ExampleSet(Texts([[9, 1], [8, 7]]), "test")
    training, testing = measured(train, test)
    assert training["unknown tokens"].tolist() == pytest.approx([1 / 3, 0.0, 1 / 4])
    assert testing["unknown tokens"].tolist() == pytest.approx([0.0, 1.0])


def test_padding_has_no_length_and_what_the_vocabulary_lacks_is_unknown() -> None:
    class Padded(Texts):
        pad_id = 0

        def tokens(self, values: Tensor) -> list[str]:
            return [("<pad>", "<UNK>", "good", "bad")[token] for token in values.tolist()]

    train = ExampleSet(Padded([[2, 3, 1, 0], [2, 3, 1, 2], [3, 2, 1, 0]]), "train")
    test = ExampleSet(Padded([[2, 0, 0, 0], [1, 1, 3, 0]]), "test")
    training, testing = measured(train, test)
    assert training["length"].tolist() == [3.0, 4.0, 3.0]
    assert testing["length"].tolist() == [1.0, 3.0]
    assert testing["unknown tokens"].tolist() == pytest.approx([0.0, 2 / 3])


def test_signals_have_a_mean_a_deviation_and_a_length() -> None:
    class Signals:
        def __init__(self, level: float) -> None:
            self.level = level

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return self.level + torch.tensor([[-1.0, 1.0] * 4]), index

    training, testing = measured(ExampleSet(Signals(0.0), "a"), ExampleSet(Signals(5.0), "b"))
    assert training["deviation"].tolist() == pytest.approx([1.0, 1.0])
    assert testing["mean"].tolist() == pytest.approx([5.0, 5.0])
    assert testing["length"].tolist() == [8.0, 8.0]


def test_grey_images_without_channels_are_measured_as_arrays() -> None:
    class Sheets:
        modality = "image"

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((3, 4), 0.25), index

    training, _ = measured(ExampleSet(Sheets(), "a"), ExampleSet(Sheets(), "b"))
    assert training["mean"].tolist() == [0.25, 0.25]


def test_images_are_measured_in_closed_form() -> None:
    red = torch.zeros(3, 4, 5)
    red[0] = 0.6
    found = image_values(red)
    assert found["brightness"] == pytest.approx(0.2)
    assert found["contrast"] == pytest.approx(0.0, abs=1e-9)
    assert found["sharpness"] == pytest.approx(0.0, abs=1e-12)
    assert (found["height"], found["width"], found["aspect"]) == (4.0, 5.0, 1.25)
    assert found["saturation"] == pytest.approx(1.0)
    assert found["hue"] == pytest.approx(0.0, abs=1e-6)
    spot = torch.zeros(1, 3, 5)
    spot[0, 1, 2] = 1.0
    assert image_values(spot)["sharpness"] == pytest.approx(6 - 4 / 9)  # of 1, -4, 1
    assert "hue" not in image_values(spot)


def test_distances_to_neighbours_leave_oneself_out() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    distances, places = nearest_distances(points, points, 2, own=range(4))
    assert distances.tolist() == pytest.approx([2.0, 1.5, 2.5, 5.0])
    assert places.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert nearest_distances(torch.tensor([[3.5]]), points, 1)[1].tolist() == [[2]]


def test_a_regression_errs_beyond_its_tolerance() -> None:
    class Lights(Blocks):
        classes = ()  # type: ignore[assignment]

        def __getitem__(self, index: int) -> tuple[Tensor, float, dict[str, object]]:  # type: ignore[override]
            return self.images[index], float(self.images[index].mean()), {}

    class Light(nn.Module):
        """Knows no light above 0.3."""

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).mean(1).clamp_max(0.3)

    train, test = Lights(KNOWN, seed=1), Lights(KNOWN, seed=2)
    test.images[100:] += 0.25
    sets = ExampleSet(train, "train"), ExampleSet(test, "test")
    found = coverage(explain.load(Light()), *sets, CoverageSettings(tolerance=0.05))
    bright = next(gap for gap in found.gaps if gap.attribute == "brightness")
    assert (bright.error_inside, bright.error_outside) == (0.0, 1.0)
    assert bright.is_finding
    assert not [gap for gap in found.gaps if gap.kind == "cell"]


def test_sets_of_other_kinds_are_not_compared() -> None:
    texts = ExampleSet(Texts([[1, 2]] * 9), "texts")
    with pytest.raises(
        UsageError, match="training set train has modality image, but test set texts has text"
    ):
        coverage(explain.load(Rows()), TRAIN, texts)
