"""What an input is compared with."""

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain.attribution.baselines import (
    References,
    default_baselines,
    other_quarter,
    usual_rivals,
)
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.inputs.examples import Example, ExampleSet, Modality
from telemetry.explain.inputs.plain_images import blurred, mean_colour
from telemetry.explain.inputs.segments import segments_of

pytestmark = pytest.mark.torch


class Rows:
    """A hundred rows: a ramp and a leaked sign; the class is the sign."""

    feature_names = ("ramp", "sign")

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([index / 100, 2.0 * (index % 2) - 1]), index % 2


def references(index: int, wrong: tuple[int, ...] = ()) -> References:
    examples = ExampleSet(Rows(), "rows")
    example = examples.example(index)

    def is_right(group: list[Example]) -> list[bool]:
        return [other.index not in wrong for other in group]

    segments = segments_of(example.input, examples)
    return References(example=example, examples=examples, segments=segments, is_right=is_right)


def test_bins_replace_a_column_by_values_of_other_quarters() -> None:
    found = torch.stack(references(10).named("bins:16"))
    assert found.shape == (16, 2)
    assert bool((found[:, 0] > 0.24).all())  # 0.1 lies in the first quarter
    assert found[:, 1].tolist() == [1.0] * 16


def test_a_constant_column_has_no_other_quarter() -> None:
    rows = torch.ones(8, 1)
    assert not other_quarter(rows, torch.ones(1)).any()


def test_a_code_differs_where_any_column_does() -> None:
    rows = torch.eye(3)
    assert other_quarter(rows, torch.tensor([1.0, 0.0, 0.0])).tolist() == [False, True, True]


def test_rows_of_the_class_are_those_answered_rightly() -> None:
    right = references(10, wrong=tuple(range(20, 100)))
    found = torch.stack(right.named("class-sample:16"))
    assert found.shape == (9, 2)  # 0 to 18, even, without the example itself
    assert bool((found[:, 1] == -1).all())
    assert bool((found[:, 0] < 0.2).all())
    assert len(right.named("train-sample:16")) == 16


def test_what_is_compared_depends_on_modality_question_and_method() -> None:
    table = Modality.TABULAR
    assert default_baselines(table, "ig", is_wrong=True) == ("class-sample:16",)
    assert default_baselines(table, "ig", is_wrong=False) == ("train-sample:16",)
    assert default_baselines(table, "lime", is_wrong=True) == ("bins:16",)
    assert default_baselines(Modality.TEXT, "lime", is_wrong=True) == ("mask",)


def test_what_must_agree_is_the_usual_where_another_was_chosen() -> None:
    image, usual = Modality.IMAGE, ("blur", "zero")
    assert usual_rivals(image, "ig", ("zero",), usual) == ("blur",)
    assert usual_rivals(image, "ig", usual, usual) == ()
    assert usual_rivals(image, "occlusion", usual, usual) == ("colour",)
    assert usual_rivals(image, "guided", ("mean",), usual) == ()
    table = Modality.TABULAR
    assert usual_rivals(table, "ig", ("median",), ("class-sample:16",)) == ("class-sample:16",)


def test_the_mean_colour_is_one_number_a_channel() -> None:
    image = torch.arange(8.0).reshape(2, 2, 2)
    assert mean_colour(image).flatten(1).tolist() == [[1.5] * 4, [5.5] * 4]


class Signed(nn.Module):
    """The sign, and a little of the ramp."""

    def forward(self, rows: Tensor) -> Tensor:
        score = 3 * rows[:, 1] + 0.1 * rows[:, 0]
        return torch.stack([-score, score], dim=1)


def test_images_of_bytes_are_blurred_to_bytes() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, ::2] = 255
    for found in (blurred(image), mean_colour(image)):
        assert found.dtype == torch.uint8
        assert 80 < float(found.float().mean()) < 175


def test_a_replaced_column_has_a_mean_effect_and_its_deviation() -> None:
    subject = explain.load(Signed(), dataset=Rows())
    first = attribute(subject, "11", "pred", method="occlusion", check=False).top(1)[0]
    assert first.segment == "sign"
    assert first.std is not None
    assert first.std > 1  # 0 where the other row has the same sign, else 12


def test_lime_of_a_table_draws_from_the_other_quarters() -> None:
    """Columns are not set to the median, which for a leaked sign is one of its two values."""
    subject = explain.load(Signed(), dataset=Rows())
    found = attribute(subject, "11", "pred", method="lime", check=False)
    assert found.baselines == ("bins:16",)
    best = found.top(1)[0]
    assert best.segment == "sign"
    assert best.value == pytest.approx(12, rel=0.1)  # 3 * 2 for each of the two logits


def test_every_forward_is_counted() -> None:
    class Counting(Signed):
        inputs = 0

        def forward(self, rows: Tensor) -> Tensor:
            Counting.inputs += len(rows)
            return super().forward(rows)

    subject = explain.load(Counting(), dataset=Rows())
    found = attribute(subject, "11", "pred", baseline="class-sample:4")
    assert found.forwards == Counting.inputs > 1000
