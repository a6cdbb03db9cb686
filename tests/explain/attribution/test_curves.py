"""Deletion and insertion of a sum of four parts, by hand."""

import pytest
import torch
from torch import Tensor

from telemetry.explain.attribution.curves import curve_checks
from telemetry.explain.attribution.methods import Problem
from telemetry.explain.inputs.segments import Segments

pytestmark = pytest.mark.torch

WEIGHTS = torch.tensor([4.0, 3.0, 2.0, 1.0])


def problem(weights: Tensor = WEIGHTS) -> Problem:
    values = torch.ones(len(weights))
    names = tuple(map(str, range(len(weights))))
    return Problem(
        score=lambda rows: rows @ weights,
        values=values,
        segments=Segments(labels=torch.arange(len(values)), names=names, how="feature"),
        embedding=None,
        samples=None,
        seed=0,
        batch=64,
    )


def test_the_right_order_falls_and_rises_fastest() -> None:
    """Three parts hold 90 %: of 10 are left 10, 6, 3, 1, and shown 0, 4, 7, 9: trapezoids."""
    deletion, insertion = curve_checks(problem(), WEIGHTS, [torch.zeros(4)], seed=0)
    assert (deletion.name, insertion.name) == ("deletion", "insertion")
    assert deletion.value == pytest.approx((5 + 6 + 3 + 0.5) / 10 / 3)
    assert insertion.value == pytest.approx((4 + 7 + 4.5) / 10 / 3)
    assert deletion.ok
    assert insertion.ok


def test_only_the_marked_parts_are_removed() -> None:
    """One part decides; without it the score goes back up when others go, as in a text."""
    weights, values = torch.tensor([9.0, -4.0, -3.0, -2.0]), torch.tensor([9.0, 0.0, 0.0, 0.0])
    for seed in range(5):
        deletion, insertion = curve_checks(problem(weights), values, [torch.zeros(4)], seed)
        assert deletion.ok
        assert insertion.ok


def test_the_reverse_order_fails_both() -> None:
    deletion, insertion = curve_checks(problem(), -WEIGHTS, [torch.zeros(4)], seed=0)
    assert deletion.value == pytest.approx((10 + 9) / 10 / 2)
    assert insertion.value == pytest.approx((0 + 1) / 10 / 2)
    assert not deletion.ok
    assert not insertion.ok


def test_a_tie_with_a_random_order_is_no_failure() -> None:
    """One of two parts does it all: half of the random orders begin with it, too."""
    weights = torch.tensor([1.0, 0.0])
    two = problem(weights)
    for seed in range(5):
        assert all(check.ok for check in curve_checks(two, weights, [torch.zeros(2)], seed))
        assert not any(check.ok for check in curve_checks(two, -weights, [torch.zeros(2)], seed))


def test_one_part_alone_is_in_no_order() -> None:
    one = problem(torch.ones(1))
    assert list(curve_checks(one, torch.ones(1), [torch.zeros(1)], seed=0)) == []


def test_a_score_that_nothing_moves_fails() -> None:
    still = problem(torch.zeros(4))
    assert not any(check.ok for check in curve_checks(still, WEIGHTS, [torch.zeros(4)], seed=0))
