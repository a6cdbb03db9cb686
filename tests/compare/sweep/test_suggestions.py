from dataclasses import replace

import numpy as np
import pytest

from telemetry.compare.sweep.effects import best_region
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.compare.sweep.result import Condition, Failure, Parameter, Relation, Step, Suggestion
from telemetry.compare.sweep.suggestions import suggestions
from telemetry.json_values import Json


def suggested(
    values: list[Json],
    ranks: list[float],
    *,
    important: bool = True,
    failures: tuple[Failure, ...] = (),
) -> Suggestion | None:
    (parameter,) = varied_parameters([{"x": value} for value in values])
    region = best_region(parameter, np.array(ranks, dtype=np.float64))
    known = Parameter(
        name="x", importance=0.5, ci_low=0.1, ci_high=0.6, important=important, best=region.text
    )
    found = suggestions([parameter], [known], [region], failures)
    return found[0] if found else None


def failing(relation: Relation, limit: float | str, *, chance: float = 0.0) -> Failure:
    return Failure(
        detector="exploding_gradient",
        conditions=(Condition(parameter="x", relation=relation, value=limit),),
        matching_runs=2,
        rule_runs=2,
        failed_runs=2,
        chance=chance,
    )


LINEAR: list[Json] = [1, 1, 2, 2, 3, 3, 4, 4]
DECADES: list[Json] = [0.001, 0.001, 0.01, 0.01, 0.1, 0.1, 1.0, 1.0]
FALLING = [8.0, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("values", "ranks", "step", "text"),
    [
        (LINEAR, FALLING, Step.EXTEND, "4 .. 5.5"),
        (DECADES, FALLING, Step.EXTEND, "1 .. 10"),
        (LINEAR, FALLING[::-1], Step.EXTEND, "0 .. 1"),
        (DECADES, FALLING[::-1], Step.EXTEND, "0.0001 .. 0.001"),
        (DECADES, [8, 7, 1, 2, 4, 3, 6, 5], Step.NARROW, "0.001 .. 0.1"),
        (["a", "a", "b", "b", "c", "c"], [6, 5, 1, 2, 4, 3], Step.KEEP, "b"),
    ],
)
def test_the_next_range_follows_the_best_region(
    values: list[Json], ranks: list[float], step: Step, text: str
) -> None:
    found = suggested(values, ranks)
    assert found is not None
    assert (found.step, found.range) == (step, text)


@pytest.mark.parametrize(
    ("ranks", "relation", "limit", "step", "text"),
    [
        ([8.0, 7, 6, 5, 1, 2, 1.5, 2], Relation.AT_LEAST, 1.0, Step.NARROW, "0.01 .. 0.1"),
        ([8.0, 7, 6, 5, 1, 2, 4, 3], Relation.AT_LEAST, 1.0, Step.NARROW, "0.01 .. 0.1"),
        ([8.0, 7, 1, 2, 4, 3, 6, 5], Relation.AT_MOST, 0.001, Step.NARROW, "0.01 .. 0.1"),
        (FALLING, Relation.AT_LEAST, 1.0, Step.AVOID, "0.001 .. 0.1"),
        (FALLING[::-1], Relation.AT_MOST, 0.01, Step.AVOID, "0.1 .. 1"),
        (FALLING[::-1], Relation.AT_LEAST, 1.0, Step.EXTEND, "0.0001 .. 0.001"),
    ],
)
def test_no_range_holds_what_fails(
    ranks: list[float], relation: Relation, limit: float, step: Step, text: str
) -> None:
    found = suggested(DECADES, ranks, failures=(failing(relation, limit),))
    assert found is not None
    assert (found.step, found.range) == (step, text)
    told = f"exploding_gradient occurs in 2 of 2 runs with {relation} {limit:g}"
    assert (told in found.reason) == (step is not Step.EXTEND)


def test_a_rule_that_is_stated_cuts_a_range_however_likely_it_is_chance() -> None:
    found = suggested(DECADES, FALLING, failures=(failing(Relation.AT_LEAST, 1, chance=0.2),))
    assert found is not None
    assert found.range == "0.001 .. 0.1"


def test_nothing_is_suggested_where_every_number_fails() -> None:
    rules = (failing(Relation.AT_LEAST, 0.1), failing(Relation.AT_MOST, 0.01))
    assert suggested(DECADES, FALLING, failures=rules) is None


def test_a_category_that_fails_is_not_kept() -> None:
    values: list[Json] = ["a", "a", "b", "b", "c", "c"]
    best_two, fails = [6.0, 5, 1, 3, 2, 2.5], (failing(Relation.EQUAL, "b"),)
    found = suggested(values, best_two, failures=fails)
    assert found is not None
    assert (found.step, found.range) == (Step.KEEP, "c")
    assert suggested(values, [6.0, 5, 1, 2, 4, 3], failures=fails) is None


def test_a_rule_over_two_parameters_is_an_exception_of_the_range() -> None:
    (single,) = (failing(Relation.AT_LEAST, 1.0),)
    other = Condition(parameter="y", relation=Relation.AT_LEAST, value=0.9)
    found = suggested(
        DECADES, FALLING, failures=(replace(single, conditions=(*single.conditions, other)),)
    )
    assert found is not None
    assert "not where x >= 1 and y >= 0.9, which has exploding_gradient" in found.reason


def test_nothing_is_advised_on_a_parameter_without_importance() -> None:
    fails = (failing(Relation.AT_LEAST, 1.0),)
    assert suggested(DECADES, FALLING, important=False, failures=fails) is None
    assert suggested(LINEAR, FALLING, important=False) is None
