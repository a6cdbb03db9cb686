"""Comparisons of two samples whose difference is planted."""

import numpy as np
import pytest

from telemetry.explain.training_gaps.compared_columns import ComparedColumn
from telemetry.explain.training_gaps.gaps import (
    Gap,
    attribute_gaps,
    missing_label,
    neighbour_gap,
    with_errors,
)
from telemetry.explain.training_gaps.histograms import histogram_of
from telemetry.explain.training_gaps.two_samples import kolmogorov_smirnov

pytestmark = pytest.mark.torch


def one(gaps: list[Gap], name: str) -> Gap:
    return next(gap for gap in gaps if gap.attribute == name)


def test_the_distance_of_two_samples_is_kolmogorov_s() -> None:
    distance, p = kolmogorov_smirnov(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.5, 5.0, 6.0]))
    assert distance == pytest.approx(3 / 4)  # three of four lie below 3.5, none of three
    assert 0.05 < p < 0.4
    same = np.arange(50.0)
    assert kolmogorov_smirnov(same, same) == (0.0, 1.0)
    far = kolmogorov_smirnov(same, same + 100)
    assert far[0] == 1.0
    assert far[1] < 1e-20


def test_equal_distributions_are_called_different_as_rarely_as_stated() -> None:
    generator = np.random.default_rng(3)
    ps = [
        kolmogorov_smirnov(generator.normal(size=80), generator.normal(size=60))[1]
        for _ in range(400)
    ]
    assert np.mean(np.array(ps) <= 0.05) <= 0.08


def test_a_shift_names_its_bound_and_a_control_is_silent() -> None:
    generator = np.random.default_rng(1)
    train = {"brightness": generator.uniform(0.1, 0.3, 800), "contrast": generator.normal(size=800)}
    test = {"brightness": generator.uniform(0.3, 0.5, 400), "contrast": generator.normal(size=400)}
    gaps = attribute_gaps(train, test)
    bright = one(gaps, "brightness")
    assert bright.reported
    assert bright.train_high == pytest.approx(0.3, abs=0.005)
    assert bright.outside_share > 0.95
    assert bright.shift_sd == pytest.approx(0.2 / (0.2 / 12**0.5), rel=0.05)
    assert bright.sentence.startswith("1 of 800 training examples have brightness above 0.2")
    assert not one(gaps, "contrast").reported
    assert one(gaps, "contrast").outside_share <= 0.02


def test_both_sets_are_counted_in_64_bins_of_one_axis() -> None:
    train, test = np.repeat(np.arange(64.0), 100), np.array([0.0, 0.0, 40.0])
    found = histogram_of(train, test)
    assert found is not None
    assert (found.low, found.high) == (0.0, 63.0)
    assert found.train == (100,) * 64
    assert [(place, count) for place, count in enumerate(found.test) if count] == [(0, 2), (40, 1)]


def test_one_stray_value_does_not_put_the_others_in_one_bin() -> None:
    train = np.append(np.linspace(0, 1, 4000), 1e9)
    found = histogram_of(train, np.linspace(0.5, 1.5, 100))
    assert found is not None
    assert found.high < 2
    assert sum(found.train) == 4001
    assert max(found.train) < 200


def test_where_nearly_all_have_one_value_the_strays_make_the_axis() -> None:
    found = histogram_of(np.append(np.zeros(5000), 8.0), np.zeros(9))
    assert found is not None
    assert (found.low, found.high) == (0.0, 8.0)
    assert (found.train[0], found.train[-1], found.test[0]) == (5000, 1, 9)


def test_one_value_and_a_span_beyond_numbers_have_no_bins() -> None:
    assert histogram_of(np.ones(3), np.ones(2)) is None
    assert histogram_of(np.array([-1.5e308, 1.5e308]), np.array([1.0])) is None


def test_gaps_of_values_have_a_histogram() -> None:
    generator = np.random.default_rng(1)
    values = {"brightness": np.append(generator.uniform(size=100), np.nan)}
    (bright,) = attribute_gaps(values, {"brightness": generator.uniform(size=50)})
    assert bright.histogram is not None
    assert (sum(bright.histogram.train), sum(bright.histogram.test)) == (100, 50)
    assert neighbour_gap(np.arange(9.0), np.arange(4.0)).histogram is not None


def test_a_few_examples_far_outside_are_reported_too() -> None:
    generator = np.random.default_rng(1)
    test = generator.normal(size=400)
    test[:16] = -9.0
    (gap,) = attribute_gaps({"x": generator.normal(size=900)}, {"x": test})
    assert gap.reported
    assert gap.outside[:16].all()
    assert "below -" in gap.sentence
    assert "4.0 % of the test examples do" in gap.sentence


def test_a_shift_inside_the_range_is_reported_and_a_small_one_is_not() -> None:
    generator = np.random.default_rng(7)
    train = {"x": generator.uniform(0.0, 1.0, 3000), "y": generator.uniform(0.0, 1.0, 3000)}
    test = {"x": generator.uniform(0.3, 0.99, 3000), "y": generator.uniform(0.05, 0.99, 3000)}
    shifted, small = attribute_gaps(train, test)
    assert shifted.reported
    assert shifted.outside_share <= 0.02
    assert small.q is not None
    assert small.q <= 0.05  # surely another distribution
    assert small.shift_sd == pytest.approx(0.02 * 12**0.5, abs=0.06)
    assert not small.reported  # and it does not matter


def test_what_no_example_has_or_all_have_alike_is_no_attribute() -> None:
    nothing, same = np.full(5, np.nan), np.ones(5)
    assert attribute_gaps({"hue": nothing, "width": same}, {"hue": nothing, "width": same}) == []
    (gap,) = attribute_gaps({"width": same}, {"width": np.full(9, 2.0)})
    assert gap.reported
    assert gap.shift_sd == np.inf


def test_a_class_that_training_lacks_is_named_however_few_have_it() -> None:
    labels = ComparedColumn.of_texts("label", ["a"] * 40, ["a"] * 9 + ["it's"], "label")
    (gap,) = missing_label(labels)
    assert (gap.attribute, gap.where) == ("label = it's", "label = 'it''s'")
    assert gap.outside.tolist() == [False] * 9 + [True]
    assert gap.histogram is None
    assert missing_label(ComparedColumn.of_texts("label", ["a", "b"], ["b"], "label")) == []


def test_two_samples_of_one_distribution_rarely_differ_by_what_lies_outside() -> None:
    """Few training examples put their bounds where chance does."""
    n_reported = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        sides = [{f"x{n}": generator.normal(size=size) for n in range(8)} for size in (120, 150)]
        n_reported += any(gap.reported for gap in attribute_gaps(sides[0], sides[1]))
        far = neighbour_gap(generator.uniform(size=120), generator.uniform(size=150))
        n_reported += far.reported
    assert n_reported <= 4


def test_a_gap_is_a_finding_only_where_the_model_is_wrong_more_often() -> None:
    generator = np.random.default_rng(2)
    distances = generator.uniform(0.0, 1.0, 500)
    far = np.concatenate([generator.uniform(0.0, 0.9, 80), np.full(20, 3.0)])
    gap = neighbour_gap(distances, far)
    assert gap.outside_n == 20
    assert gap.reported
    wrong = np.zeros(100, dtype=bool)
    wrong[70:90] = True
    judged = with_errors(gap, wrong)
    assert (judged.error_inside, judged.error_outside) == (10 / 80, 10 / 20)
    assert judged.is_finding
    assert not with_errors(gap, np.arange(100) % 5 == 0).is_finding
    everywhere = neighbour_gap(distances, np.full(10, 3.0))
    assert with_errors(everywhere, np.ones(10, dtype=bool)).error_inside is None
    assert not with_errors(everywhere, np.ones(10, dtype=bool)).is_finding
