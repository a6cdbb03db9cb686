"""Delta debugging on sets whose least part is known."""

import random
from collections.abc import Sequence

import pytest

from telemetry.explain.reduction.ddmin import Items, Trials, ddmin

pytestmark = pytest.mark.torch


def trials(*causes: set[int], most: int = 2000) -> Trials:
    """Accepts what holds one of the causes whole."""

    def judge(sets: Sequence[Items]) -> list[bool]:
        return [any(cause <= set(items) for cause in causes) for items in sets]

    return Trials(judge=judge, most=most)


@pytest.mark.parametrize("cause", [{0}, {63}, {31, 32}, {3, 17, 40}])
def test_one_cause_is_found_exactly(cause: set[int]) -> None:
    asked = trials(cause)
    found = ddmin(range(64), asked)
    assert set(found.items) == cause
    assert found.proven
    assert asked.calls < 200


@pytest.mark.parametrize("seed", range(20))
def test_no_single_item_can_be_left_out_even_of_outcomes_without_order(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    causes = [set(chance.sample(range(32), chance.randint(1, 4))) for _ in range(2)]
    spoiler = chance.choice(sorted(set(range(32)) - causes[0] - causes[1]))

    def accepts(items: Sequence[int]) -> bool:
        chosen = set(items)
        holds = any(cause <= chosen for cause in causes)
        return holds and (spoiler not in chosen or len(chosen) % 3 != 1)

    def judge(sets: Sequence[Items]) -> list[bool]:
        return [accepts(items) for items in sets]

    found = ddmin(range(32), Trials(judge=judge, most=5000))
    assert accepts(found.items)
    assert found.proven
    for item in found.items:
        assert not accepts([i for i in found.items if i != item])


def test_a_search_that_is_cut_short_keeps_the_best_so_far() -> None:
    asked = trials({3, 17, 40}, most=20)
    found = ddmin(range(64), asked)
    assert not found.proven
    assert {3, 17, 40} <= set(found.items)
    assert asked.calls <= 20


def test_a_set_is_asked_about_once() -> None:
    asked = trials({1})
    assert asked.ask([(0, 1), (1, 0), (2,)]) == [True, True, False]
    assert asked.ask([(1, 0)]) == [True]
    assert asked.calls == 2
