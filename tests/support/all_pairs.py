"""All-pairs designs: every two levels of different factors meet in some case."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

Design: TypeAlias = dict[str, str]
Pair: TypeAlias = frozenset[tuple[str, str]]


def all_pairs(
    factors: Mapping[str, Sequence[str]], *, can_meet: Callable[[Design], bool]
) -> list[Design]:
    """Few cases in which every two levels that can meet do; the same ones every time.

    Greedy: a case starts from the first pair that is missing, and takes, factor by factor, the
    level that brings the most missing pairs with it.

    Args:
        factors: Levels by factor; the first level is the usual one.
        can_meet: Whether a case, perhaps of some factors only, is possible.

    Raises:
        ValueError: A pair that can meet fits into no whole case.
    """
    missing = dict.fromkeys(
        frozenset({(one, left), (two, right)})
        for one, two in combinations(factors, 2)
        for left in factors[one]
        for right in factors[two]
        if can_meet({one: left, two: right})
    )
    designs = []
    while missing:
        start = next(iter(missing))
        design = _completed(dict(start), factors, missing, can_meet)
        if design is None:
            raise ValueError(f"{sorted(start)} can meet, and fit into no case")
        for pair in _pairs(design):
            missing.pop(pair, None)
        designs.append(design)
    return designs


def _completed(
    design: Design,
    factors: Mapping[str, Sequence[str]],
    missing: Mapping[Pair, None],
    can_meet: Callable[[Design], bool],
) -> Design | None:
    open_factors = [name for name in factors if name not in design]
    if not open_factors:
        return design
    name = open_factors[0]
    candidates = [{**design, name: level} for level in factors[name]]
    possible = [candidate for candidate in candidates if can_meet(candidate)]
    gain = {
        candidate[name]: sum(pair in missing for pair in _pairs(candidate))
        for candidate in possible
    }
    for candidate in sorted(possible, key=lambda chosen: -gain[chosen[name]]):
        whole = _completed(candidate, factors, missing, can_meet)
        if whole is not None:
            return whole
    return None


def _pairs(design: Design) -> list[Pair]:
    return [frozenset(pair) for pair in combinations(design.items(), 2)]
