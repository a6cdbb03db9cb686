"""Holes that are planted in tables, and tables without any."""

import math

import numpy as np
import pytest

from telemetry.explain.training_gaps.compared_columns import ComparedColumn, Flags, Range
from telemetry.explain.training_gaps.holes import Hole, holes, pairs_of

pytestmark = pytest.mark.torch

Side = tuple[dict[str, np.ndarray], dict[str, list[str]]]


def drawn(seed: int, n: int, *, has_hole: bool) -> Side:
    """Patients whose columns depend on each other; the hole has no old ones of the south."""
    generator = np.random.default_rng(seed)
    age = generator.uniform(18, 90, n)
    region = generator.choice(list("NESW"), n, p=[0.4, 0.3, 0.2, 0.1])
    kept = ~((age >= 61) & (region == "S")) if has_hole else np.ones(n, dtype=bool)
    income = age * 300 + generator.normal(0, 8000, n)
    children = generator.poisson(1.5, n).astype(float)
    label = np.where(generator.random(n) < 1 / (1 + np.exp(-(age - 50) / 15)), "ill", "well")
    numbers = {"age": age[kept], "income": income[kept], "children": children[kept]}
    return numbers, {"region": region[kept].tolist(), "label": label[kept].tolist()}


def found(train: Side, test: Side) -> list[Hole]:
    columns = [
        *(ComparedColumn(name=n, train=train[0][n], test=test[0][n], column=n) for n in train[0]),
        *(ComparedColumn.of_texts(n, train[1][n], test[1][n], n) for n in train[1]),
    ]
    asked = pairs_of(columns, "label")
    none: Flags = np.zeros(len(test[0]["age"]), dtype=np.bool_)
    return holes(asked, none, asked=len(asked))


def test_a_hole_of_two_columns_is_named_first_with_its_bound() -> None:
    for seed in range(8):
        first = found(drawn(seed, 2000, has_hole=True), drawn(seed + 50, 700, has_hole=False))[0]
        names = [column.name for column, _ in first.parts]
        assert names == ["age", "region"]
        assert first.parts[0][1].low == pytest.approx(61, abs=1.5)
        assert math.isinf(first.parts[0][1].high)
        assert first.where is not None
        assert first.where.endswith(" AND region = 'S'")
        assert first.sentence.startswith("0 of ")


def test_sets_without_a_hole_have_none() -> None:
    sizes = [(400, 300), (2000, 700), (150, 900)]
    silent = [
        found(drawn(seed, n, has_hole=False), drawn(seed + 900, m, has_hole=False)) == []
        for seed in range(10)
        for n, m in sizes
    ]
    assert sum(silent) >= 29


def test_a_hole_inside_the_range_of_one_column_is_named() -> None:
    generator = np.random.default_rng(4)
    train = generator.uniform(0, 10, 1500)
    train = train[(train < 4) | (train >= 5)]
    column = ComparedColumn(name="dose", train=train, test=generator.uniform(0, 10, 500))
    (hole,) = holes([(column,)], np.zeros(500, dtype=np.bool_), asked=1)
    ((_, dose),) = hole.parts
    assert (dose.low, dose.high) == pytest.approx((4, 5), abs=0.05)
    assert hole.train_n == 0


def test_a_pair_is_no_hole_where_one_of_its_columns_says_it_all() -> None:
    """Training has nobody of the south at all: that is no matter of age."""
    train, test = drawn(3, 2000, has_hole=False), drawn(4, 700, has_hole=False)
    is_south = np.array(train[1]["region"]) == "S"
    numbers = {name: values[~is_south] for name, values in train[0].items()}
    texts = {
        name: [text for text, out in zip(values, is_south, strict=True) if not out]
        for name, values in train[1].items()
    }
    assert [hole.title for hole in found((numbers, texts), test)] == ["region = S"]


def test_ranges_are_called_as_people_call_them() -> None:
    values = np.linspace(0, 1, 100)
    bright = ComparedColumn(name="brightness", train=values, test=values)
    assert bright.title(Range(high=0.2)) == "brightness below 0.2 (dark)"
    assert bright.title(Range(low=0.2, high=0.4)) == "brightness from 0.2 to 0.4"
    few = ComparedColumn(name="rooms", train=np.array([1.0, 2.0, 3.0]), test=np.array([1.0]))
    assert few.title(few.range_of((1, 1))) == "rooms = 2"
    assert few.title(few.range_of((1, 2))) == "rooms from 1.5"
