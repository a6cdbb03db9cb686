"""What removing or revealing the marked parts first does to the score, against random orders.

Source: Petsiuk, Das and Saenko 2018, arXiv:1806.07421. The score itself is followed, in shares of
its whole fall: its probability saturates, and then no order differs from another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.explain.checks import EMPTY, Check
from telemetry.explain.methods import Problem

CUTS = 24
RANDOM_ORDERS = 5
TIE = 0.01  # areas closer than this are equal: orders that differ in parts without effect


@dataclass(frozen=True, slots=True, kw_only=True)
class _Areas:
    """Mean share of the score that is there while parts are removed, or revealed, in an order."""

    deletion: float
    insertion: float


def curve_checks(
    problem: Problem, per_segment: Tensor, reference: Tensor, seed: int
) -> Iterator[Check]:
    """Deletion and insertion by an attribution, against five random orders.

    An order beats chance when it is no worse than the best of them and better than their mean. Of
    few parts, random orders often begin with the right one: a tie with the best is no failure.

    Args:
        problem: The input.
        per_segment: The attribution, shape (n_segments,).
        reference: What removed parts are replaced by.
        seed: Of the random orders.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(per_segment)
    orders = [torch.randperm(n, generator=generator) for _ in range(RANDOM_ORDERS)]
    own = _areas(problem, per_segment.argsort(descending=True), reference)
    others = [_areas(problem, order, reference) for order in orders]
    deletions = [areas.deletion for areas in others]
    yield Check(
        name="deletion",
        value=own.deletion,
        threshold=min(deletions),
        ok=_beats(own.deletion, deletions),
        meaning="removing the marked parts first changes the answer no faster than chance",
    )
    insertions = [areas.insertion for areas in others]
    yield Check(
        name="insertion",
        value=own.insertion,
        threshold=max(insertions),
        ok=_beats(-own.insertion, [-area for area in insertions]),
        meaning="revealing the marked parts first brings the answer no faster than chance",
    )


def _beats(own: float, others: Sequence[float]) -> bool:
    mean = sum(others) / len(others)
    return own <= min(others) + TIE and own < mean - TIE


def _areas(problem: Problem, order: Tensor, reference: Tensor) -> _Areas:
    n = len(order)
    cuts = sorted({round(n * cut / CUTS) for cut in range(CUTS + 1)})
    place = order.argsort()
    removed = torch.stack([place >= cut for cut in cuts])
    scores = problem.mixed_scores(torch.cat([removed, ~removed]), [reference])[:, 0].double()
    deleting, inserting = torch.split(scores, len(cuts))
    all_there, none_there = deleting[0], deleting[-1]
    fall = float(all_there - none_there)
    if abs(fall) <= EMPTY:
        return _Areas(deletion=1.0, insertion=0.0)
    places = torch.tensor(cuts, dtype=torch.float64) / n
    return _Areas(
        deletion=float(torch.trapezoid((deleting - none_there) / fall, places)),
        insertion=float(torch.trapezoid((inserting - none_there) / fall, places)),
    )
