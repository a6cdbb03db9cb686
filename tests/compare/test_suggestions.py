import numpy as np
import pytest

from telemetry.compare.effects import best_region
from telemetry.compare.parameters import varied_parameters
from telemetry.compare.suggestions import suggestions
from telemetry.compare.sweep_result import (
    Condition,
    Failure,
    Parameter,
    Relation,
    Step,
    Suggestion,
)
from telemetry.json_values import Json


def suggested(
    values: list[Json],
    ranks: list[float],
    *,
    important: bool = True,
    failures: tuple[Failure, ...] = (),
    enough_runs: bool = True,
    ci_high: float = 0.6,
) -> Suggestion | None:
    (parameter,) = varied_parameters([{"x": value} for value in values])
    region = best_region(parameter, np.array(ranks, dtype=np.float64))
    known = Parameter(
        name="x", importance=0.5, ci_low=0.1, ci_high=ci_high, important=important, best=region.text
    )
    found = suggestions([parameter], [known], [region], failures, enough_runs=enough_runs)
    return found[0] if found else None


def failing(relation: Relation, limit: float, *, chance: float = 0.0) -> Failure:
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


def test_a_range_is_not_extended_into_the_region_that_fails() -> None:
    found = suggested(
        DECADES, [8, 7, 6, 5, 1, 2, 1.5, 2], failures=(failing(Relation.AT_LEAST, 1),)
    )
    assert found is not None
    assert found.step is Step.NARROW
    assert "2 of 2 runs with >= 1 have exploding_gradient" in found.reason


def test_without_an_effect_the_failing_region_is_left_out() -> None:
    fails = (failing(Relation.AT_LEAST, 1.0),)
    found = suggested(DECADES, FALLING, important=False, failures=fails)
    assert found is not None
    assert (found.step, found.range) == (Step.AVOID, "0.001 .. 0.1")
    below = suggested(
        DECADES, FALLING, important=False, failures=(failing(Relation.AT_MOST, 0.01),)
    )
    assert below is not None
    assert below.range == "0.1 .. 1"


def test_a_rule_that_may_be_chance_cuts_nothing_off() -> None:
    fails = (failing(Relation.AT_LEAST, 1.0, chance=0.1),)
    found = suggested(DECADES, FALLING, important=False, failures=fails, ci_high=0.2)
    assert found is not None
    assert found.step is Step.FIX
    assert "it explains 20 % of the order at most" in found.reason


def test_what_may_still_explain_much_is_not_fixed() -> None:
    assert suggested(DECADES, FALLING, important=False, ci_high=0.21) is None


def test_few_runs_suggest_nothing_about_what_has_no_effect() -> None:
    assert suggested(LINEAR, FALLING, important=False, enough_runs=False) is None
