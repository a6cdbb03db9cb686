"""Thresholds against planted truth: a model whose turning point is known in closed form."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain import perturb, perturb_all
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.perturbation.axes import axis_of
from telemetry.explain.perturbation.perturb_answers import answer
from telemetry.requests.explain.perturb import PerturbRequest, PerturbSettings

pytestmark = pytest.mark.torch

LIMIT = 0.6


class Bright(nn.Module):
    """Says `bright` where the mean is above 0.6, and nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        score = 20 * (x.flatten(1).mean(1) - LIMIT)
        return torch.stack([-score, score], dim=1)


class Photos:
    """Twenty images of means from 0.305 to 0.495: all of them dark, the last labelled bright."""

    classes = ("dark", "bright")
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        noise = 0.1 * (torch.rand(20, 1, 8, 8, generator=generator) - 0.5)
        noise -= noise.mean((1, 2, 3), keepdim=True)
        self.images = noise + torch.linspace(0.305, 0.495, 20)[:, None, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(index == 19)


@pytest.fixture
def subject() -> explain.Subject:
    return explain.load(Bright(), dataset=Photos())


def test_the_changed_images_are_drawn_on_both_sides_of_the_threshold(
    subject: explain.Subject,
) -> None:
    found = perturb(subject, "7", "brightness")
    png = found.figure("png")
    assert png is not None
    drawn = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=np.float64)
    # Ends, no change, and the last right and first wrong value: five tiles side by side.
    middles = [
        drawn[60:90, 6 + place * 134 + 30 : 6 + place * 134 + 90].mean() for place in range(5)
    ]
    assert middles == sorted(middles)
    assert middles[0] < 20
    assert middles[-1] > 200
    assert middles[3] - middles[2] < 5 < middles[2] - middles[1]


@pytest.mark.parametrize("index", [0, 7, 18])
def test_the_threshold_is_within_an_eighth_of_a_step(subject: explain.Subject, index: int) -> None:
    found = perturb(subject, str(index), "brightness")
    truth = LIMIT - float(Photos().images[index].mean())
    assert found.threshold is not None
    assert truth <= found.threshold <= truth + 0.05 / 8 + 1e-6
    assert found.monotone
    assert [turn.right < turn.wrong for turn in found.turns] == [True]
    assert found.ok
    assert found.forwards == 20 + 21 + 3 + 2  # reading, sweep, bisection, determinism


def test_a_turn_and_its_return_are_both_told() -> None:
    class Band(nn.Module):
        """Wrong in a band alone."""

        def forward(self, x: Tensor) -> Tensor:
            mean = x.flatten(1).mean(1)
            score = 1 - 2 * ((mean > 0.6) & (mean < 0.72)).float()
            return torch.stack([score, -score], dim=1)

    found = perturb(explain.load(Band(), dataset=Photos()), "0", "brightness")
    assert not found.monotone
    (interval,) = found.failing
    assert interval[0] == found.threshold
    assert interval == (pytest.approx(0.3, abs=0.01), pytest.approx(0.4, abs=0.05))


def test_what_is_wrong_at_once_says_what_mends_it(subject: explain.Subject) -> None:
    found = perturb(subject, "19", "brightness")
    assert (found.baseline, found.threshold, found.turns) == (0.0, 0.0, ())
    assert found.neutral.prediction == "dark"
    assert found.at(0.15).right  # 0.495 becomes 0.645


def test_a_set_has_a_curve_and_the_value_of_five_points(subject: explain.Subject) -> None:
    found = perturb_all(subject, "brightness", PerturbSettings(batch=16))
    assert found.baseline == pytest.approx(19 / 20)
    # At +0.15 those of 0.455 to 0.485 are called bright, and so is the last, rightly.
    assert found.threshold == pytest.approx(0.15)
    assert found.at(0.15).accuracy == pytest.approx(16 / 20)
    assert found.at(0.15).n == 20
    low, high = found.at(0.15).interval
    assert low < 16 / 20 < high
    assert found.forwards == 20 + 20 * 22  # reading; 21 values and no change


def test_a_mistake_in_the_last_axis_is_said_before_the_first_one_runs(
    subject: explain.Subject,
) -> None:
    told: list[int] = []
    request = PerturbRequest(whole=True, axes=("brightness", "hue"))
    with pytest.raises(UsageError, match="--axis hue: images have 1 channels"):
        answer(request, subject, lambda done, _of: told.append(done))
    assert told == []


def test_saturation_is_no_brightness() -> None:
    class Never(nn.Module):
        """Turns where most of the image is white."""

        def forward(self, x: Tensor) -> Tensor:
            score = (x >= 1).float().flatten(1).mean(1) - 0.5
            return torch.stack([-score, score], dim=1)

    settings = PerturbSettings(span=(0.0, 1.0))
    found = perturb(explain.load(Never(), dataset=Photos()), "0", "brightness", settings)
    clipped = next(check for check in found.checks if check.name == "clipped")
    assert clipped.value > 0.2
    assert not found.ok


def test_images_are_changed_before_normalisation() -> None:
    class Normalised(Photos):
        mean = (0.5,)
        std = (0.25,)
        value_range = (0.0, 1.0)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image, label = super().__getitem__(index)
            return (image - 0.5) / 0.25, label

    class Model(Bright):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 0.25 + 0.5)

    subject = explain.load(Model(), dataset=Normalised())
    plain = perturb(explain.load(Bright(), dataset=Photos()), "3", "brightness")
    found = perturb(subject, "3", "brightness")
    assert found.threshold == pytest.approx(plain.threshold)


def test_a_range_that_was_measured_is_told(subject: explain.Subject) -> None:
    class Unstated(Photos):
        value_range = None

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image, label = super().__getitem__(index)
            return image - 0.5, label

    assert perturb(subject, "0", "blur").warnings == ()
    (note,) = perturb(explain.load(Bright(), dataset=Unstated()), "0", "blur").warnings
    assert "add value_range to the data set, and mean and std" in note


def test_noise_and_dropped_tokens_follow_the_seed(subject: explain.Subject) -> None:
    first, again, other = (
        perturb(subject, "0", "noise", PerturbSettings(seed=seed)) for seed in (1, 1, 2)
    )
    assert [step.margin for step in first.steps] == [step.margin for step in again.steps]
    assert first.id == again.id != other.id
    assert [step.margin for step in first.steps] != [step.margin for step in other.steps]


class Reader(nn.Module):
    """A text is positive when half of it at least is the token 7."""

    def forward(self, tokens: Tensor) -> Tensor:
        score = (tokens == 7).float().sum(1) - 4.5
        return torch.stack([-score, score], dim=1)


class Texts:
    modality = "text"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([7, 3] * 10), 1


def test_tokens_are_dropped_in_one_order() -> None:
    subject = explain.load(Reader(), dataset=Texts())
    found = perturb(subject, "0", "token-drop")
    assert found.monotone
    assert found.threshold is not None
    assert 0.3 <= found.threshold <= 0.9
    assert subject.examples is not None
    axis = axis_of("token-drop", subject.examples)
    example = subject.examples.example(0)
    lengths = [len(axis.apply(example, share)[0]) for share in (0.0, 0.25, 1.0)]
    assert lengths == [20, 15, 1]


class Rows:
    feature_names = ("age", "income")
    modality = "tabular"

    def __len__(self) -> int:
        return 41

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index), index / 10]), int(index / 10 > 2)


class Income(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([2.0 - x[:, 1], x[:, 1] - 2.0], dim=1)


def test_a_column_runs_over_its_quantiles_from_its_own_value() -> None:
    subject = explain.load(Income(), dataset=Rows())
    found = perturb(subject, "3", "feature:income")
    assert found.axis.neutral == pytest.approx(0.3)
    assert (found.values[0], found.values[-1]) == (0.0, 4.0)
    assert found.threshold == pytest.approx(2.0, abs=0.2)
    untouched = perturb(subject, "3", "feature:age")
    assert untouched.threshold is None
    assert perturb_all(subject, "feature:age").baseline == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("axis", "complaint"),
    [
        ("sharpness", "--axis sharpness: choose brightness"),
        ("hue", "images have 1 channels"),
        ("token-drop", "the data set has modality image, not text"),
        ("feature:age", "are not rows"),
    ],
)
def test_an_axis_that_does_not_fit_is_refused(
    subject: explain.Subject, axis: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        perturb(subject, "0", axis)


def test_what_cannot_be_walked_is_refused(subject: explain.Subject) -> None:
    with pytest.raises(UsageError, match="--steps 2"):
        perturb(subject, "0", "brightness", PerturbSettings(steps=2))
    with pytest.raises(UsageError, match="--range 1:0 is empty"):
        perturb(subject, "0", "brightness", PerturbSettings(span=(1.0, 0.0)))
    regression = replace(subject, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 1)))
    assert perturb(regression, "0", "noise").label == "dark"  # one logit of two named classes
    columns = explain.load(Income(), dataset=Rows())
    with pytest.raises(UsageError, match="no such column; there are age, income"):
        perturb(columns, "0", "feature:height")


class Ages:
    """Twenty photographs whose age is ten times their mean."""

    modality = "image"
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        self.images = Photos().images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, float]:
        return self.images[index], 10 * float(self.images[index].mean())


class Age(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 10 * x.flatten(1).mean(1)


def test_a_regression_is_wrong_beyond_its_tolerance() -> None:
    subject = explain.load(Age(), dataset=Ages())
    found = perturb(subject, "4", "brightness", PerturbSettings(tolerance=1.2))
    assert sorted(turn.wrong for turn in found.turns) == [
        pytest.approx(-0.12, abs=0.0063),
        pytest.approx(0.12, abs=0.0063),
    ]
    assert found.neutral.p_label is None
    assert found.neutral.margin == pytest.approx(1.2)
    assert found.label == "3.45"
    whole = perturb_all(subject, "brightness", PerturbSettings(tolerance=1.2))
    assert whole.baseline == 1.0
    assert abs(whole.threshold or 0) == pytest.approx(0.15)
    with pytest.raises(UsageError, match="set the largest error of a correct answer"):
        perturb(subject, "4", "brightness")
    with pytest.raises(UsageError, match="--tolerance is only for regressions"):
        perturb(
            explain.load(Bright(), dataset=Photos()), "4", "blur", PerturbSettings(tolerance=1.0)
        )


def test_a_random_model_is_told() -> None:
    class Restless(Bright):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.randn(len(x), 2)

    found = perturb(explain.load(Restless(), dataset=Photos()), "0", "blur")
    assert "determinism" in {check.name for check in found.checks if not check.ok}


class Waves:
    """Two signals of one channel and sixteen samples: a step up in the middle, and one of half."""

    classes = ("low", "high")

    def __init__(self) -> None:
        self.signals = torch.zeros(2, 1, 16)
        self.signals[0, 0, 8:], self.signals[1, 0, 8:] = 1.0, 0.5

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.signals[index], 1


class Late(nn.Module):
    """High where the last four samples have a mean above 0.4."""

    def forward(self, x: Tensor) -> Tensor:
        score = 20 * (x[:, 0, 12:].mean(1) - 0.4)
        return torch.stack([-score, score], dim=1)


def test_signals_are_changed_along_their_samples() -> None:
    subject = explain.load(Late(), dataset=Waves())
    offset = perturb(subject, "1", "brightness")
    assert offset.threshold == pytest.approx(-0.1, abs=0.05 / 8 + 1e-6)
    assert "clipped" not in {check.name for check in offset.checks}
    moved = perturb(subject, "0", "shift", PerturbSettings(span=(0.0, 0.5)))
    assert moved.threshold == pytest.approx(0.4, abs=0.05)  # 2.4 of the last four are high
    axis = axis_of("shift", ExampleSet(Waves(), "waves"))
    shifted, _ = axis.apply(ExampleSet(Waves(), "waves").example(0), 0.25)
    assert shifted.shape == (1, 16)
    assert shifted[0].tolist() == pytest.approx([0.0] * 12 + [1.0] * 4, abs=1e-5)
    with pytest.raises(UsageError, match="for signals, use blur, brightness, contrast"):
        perturb(subject, "0", "rotate")
