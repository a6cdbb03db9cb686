"""What removing or revealing the marked parts first does to the score, against random orders.

Source: Petsiuk, Das and Saenko 2018, arXiv:1806.07421. The score itself is followed, between the
lowest and the highest that is met: its probability saturates, and then no order differs from
another.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations

import torch
from torch import Tensor

from telemetry.explain.attribution.methods import Problem
from telemetry.explain.results.check import EMPTY, Check

CUTS = 24
RANDOM_ORDERS = 5
ALL_ORDERS = 3  # parts up to which every order is tried
MARKED = 0.9  # of what speaks for the score: the parts that hold it are the marked ones
TIE = 0.01  # areas closer than this are equal: orders that differ in parts without effect


def curve_checks(
    problem: Problem, per_segment: Tensor, references: Sequence[Tensor], seed: int
) -> Iterator[Check]:
    """Deletion and insertion by an attribution, against five random orders.

    An order beats chance when it is no worse than the best of them and better than their mean. Of
    few parts, random orders often begin with the right one: a tie with the best is no failure.

    Only the marked parts are removed and revealed. What the rest does to an input without its
    cause says nothing of the attribution: where one token of a text decides, masking the others
    moved the score of a trained transformer back, and the whole curve refused 3 of 20 right
    answers.

    Args:
        problem: The input.
        per_segment: The attribution, shape (n_segments,).
        references: What removed parts are replaced by; the mean over them is followed.
        seed: Of the random orders.
    """
    n = len(per_segment)
    if n == 1:  # there is nothing to order
        return
    own = per_segment.argsort(descending=True)
    orders = torch.cat([own[None], other_orders(n, seed)])
    deletion, insertion = _areas(problem, orders, references, n_marked(per_segment))
    yield Check(
        name="deletion",
        value=float(deletion[0]),
        threshold=float(deletion[1:].min()),
        ok=_is_below(deletion),
        meaning=(
            "removing the marked parts first changes the answer no faster than removing random "
            "parts"
        ),
    )
    yield Check(
        name="insertion",
        value=float(insertion[0]),
        threshold=float(insertion[1:].max()),
        ok=_is_below(-insertion),
        meaning=(
            "revealing the marked parts first restores the answer no faster than revealing "
            "random parts"
        ),
    )


def n_marked(per_segment: Tensor) -> int:
    """How many of the strongest parts hold 90 % of what speaks for the score, one at least."""
    held = per_segment.clamp_min(0).sort(descending=True).values.double().cumsum(0)
    return min(int((held < MARKED * held[-1]).sum()) + 1, len(per_segment))


def curve_inputs(n: int) -> int:
    """About how many inputs both curves of n parts take for each reference."""
    return 2 * (1 + RANDOM_ORDERS) * (min(n, CUTS) + 1)


def other_orders(n: int, seed: int) -> Tensor:
    """Five random orders, or all of them where there are hardly more; shape (n_orders, n)."""
    if n <= ALL_ORDERS:
        return torch.tensor(list(permutations(range(n))))
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(n, generator=generator) for _ in range(RANDOM_ORDERS)])


def _is_below(areas: Tensor) -> bool:
    """Whether the first area is no larger than any other, and smaller than their mean."""
    own, others = areas[0], areas[1:]
    return bool(own <= others.min() + TIE) and bool(own < others.mean() - TIE)


def _areas(
    problem: Problem, orders: Tensor, references: Sequence[Tensor], most: int
) -> tuple[Tensor, Tensor]:
    """Areas under the score while parts are removed in each order, and while they are revealed.

    Args:
        problem: The input.
        orders: Shape (n_orders, n_segments).
        references: What removed parts are replaced by.
        most: Parts that are removed or revealed at most.

    Returns:
        Two of shape (n_orders,), between 0 and 1.
    """
    n_orders = len(orders)
    cuts = torch.tensor(sorted({round(most * cut / CUTS) for cut in range(CUTS + 1)}))
    removed = orders.argsort(1)[:, None] >= cuts[:, None]
    kept = torch.stack([removed, ~removed]).flatten(0, 2)
    scores = problem.mixed_scores(kept, references).double().mean(1)
    spread = float(scores.max() - scores.min())
    if spread <= EMPTY:
        return torch.ones(n_orders), torch.zeros(n_orders)
    curves = ((scores - scores.min()) / spread).reshape(2, n_orders, len(cuts))
    areas = torch.trapezoid(curves, cuts.double() / most)
    return areas[0], areas[1]
