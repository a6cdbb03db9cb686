"""The search for groups that are worse than the rest, over examples at hand."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.errors import UsageError
from telemetry.evaluate.slicing.judged import Judged
from telemetry.evaluate.slicing.lattice import Candidates, Conditions, candidates, members
from telemetry.evaluate.slicing.levels import Levels
from telemetry.evaluate.slicing.result import Slice
from telemetry.evaluate.statistics.paired import benjamini_hochberg
from telemetry.evaluate.stored.evaluations import Examples

DEFAULT_Q = 0.05
DEFAULT_DEPTH = 2
MAX_DEPTH = 3
MIN_SIZE = 50
MIN_SHARE = 0.01
N_EXAMPLES = 5  # ids shown of each slice
MAX_SLICES = 20
MAX_WALKED = 1_000  # significant groups looked at for repeats, the surest first

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How groups are looked for.

    Attributes:
        by: Columns; none means the label and all metadata.
        depth: Most conditions of a group, 1 to 3.
        min_size: Fewest examples of a group; None means 50, or 1 % if that is more.
        q: Allowed share of false finds.
        confirm: Whether half of the examples search, and the other half confirms.
    """

    by: tuple[str, ...] = ()
    depth: int = DEFAULT_DEPTH
    min_size: int | None = None
    q: float = DEFAULT_Q
    confirm: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: a number is out of its range.
        """
        if not 1 <= self.depth <= MAX_DEPTH:
            raise UsageError(f"depth is {self.depth}, expected 1 to {MAX_DEPTH} conditions.")
        if self.min_size is not None and self.min_size < 1:
            raise UsageError(
                f"min-size is {self.min_size}, expected a number of examples of at least 1."
            )
        if not 0 < self.q < 1:
            raise UsageError(f"q is {self.q:g}, expected a share between 0 and 1, such as 0.05.")

    def size(self, n: int) -> int:
        """Fewest examples of a group among n."""
        return self.min_size or max(MIN_SIZE, math.ceil(MIN_SHARE * n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Groups tested, those significantly worse, and what is left of them without repeats."""

    tested: int
    n_found: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    conditions: Conditions
    log_p: float
    q: float


def search_slices(
    examples: Examples, judged: Judged, columns: Sequence[Levels], search: Search
) -> Outcome:
    """Groups that are worse than the rest, the surest first, none explained by those before it.

    Args:
        examples: Those that are judged.
        judged: Their values.
        columns: Their columns as levels.
        search: How.
    """
    if not columns:
        return Outcome(tested=0, n_found=0, slices=())
    if not search.confirm:
        tested, n_found, groups = _search(judged, columns, search)
        found = [_slice(examples, judged, columns, group) for group in groups]
        return Outcome(tested=tested, n_found=n_found, slices=tuple(found))
    seeks = _seeking_half(examples)
    tested, n_found, groups = _search(judged.part(seeks), _parts(columns, seeks), search)
    found = _confirmed(
        examples.part(~seeks), judged.part(~seeks), _parts(columns, ~seeks), groups, search.q
    )
    return Outcome(tested=tested, n_found=n_found if found else 0, slices=tuple(found))


def described(
    examples: Examples,
    judged: Judged,
    inside: Mask,
    conditions: tuple[tuple[str, str], ...],
    where: str,
    *,
    log_p: float,
    q: float,
) -> Slice:
    """A group with its numbers and its worst examples."""
    n, total = int(inside.sum()), [float(judged.values[inside].sum())]
    low, high = judged.interval(inside)
    worst = np.flatnonzero(inside)[np.argsort(-judged.values[inside], kind="stable")[:N_EXAMPLES]]
    return Slice(
        conditions=conditions,
        where=where,
        n=n,
        value=judged.mean_of(n, total),
        rest=judged.rest_of(n, total),
        ci_low=low,
        ci_high=high,
        p=math.exp(log_p),
        q=q,
        log_p=log_p,
        examples=tuple(examples.at(worst).ids),
    )


def _search(
    judged: Judged, columns: Sequence[Levels], search: Search
) -> tuple[int, int, list[_Group]]:
    """Number of tests, number of groups that are worse, and those without repeats."""
    size = search.size(len(judged.values))
    tried = candidates(columns, judged.totals, depth=search.depth, min_size=size)
    log_ps = [judged.log_p(int(n), s) for n, s in zip(tried.n, tried.sums.tolist(), strict=True)]
    qs = benjamini_hochberg([math.exp(value) for value in log_ps])
    # Equal certainty: the group in which it is worse; a change in a part is one in the whole too.
    means = (tried.sums[:, 0] / tried.n).tolist()
    order = sorted(range(len(log_ps)), key=lambda place: (log_ps[place], -means[place]))
    worse = [place for place in order if qs[place] <= search.q and _matters(judged, tried, place)]
    groups = [_Group(conditions=tried.conditions[i], log_p=log_ps[i], q=qs[i]) for i in worse]
    limit = math.log(search.q / max(len(log_ps), 1))
    return len(log_ps), len(worse), list(_without_repeats(groups, judged, columns, limit))


def _matters(judged: Judged, tried: Candidates, place: int) -> bool:
    n, sums = int(tried.n[place]), tried.sums[place].tolist()
    return judged.matters(judged.mean_of(n, sums), judged.rest_of(n, sums))


def _without_repeats(
    groups: Sequence[_Group], judged: Judged, columns: Sequence[Levels], limit: float
) -> Iterable[_Group]:
    """Groups that are still worse when the examples of those before them are taken away."""
    left = np.ones(len(judged.values), dtype=np.bool_)
    remaining, n_kept = judged, 0
    for group in groups[:MAX_WALKED]:
        inside = members(columns, group.conditions)
        new = inside[left]
        sums = remaining.totals[new].sum(axis=0).tolist()
        if n_kept and remaining.log_p(int(new.sum()), sums) > limit:
            continue
        yield group
        n_kept += 1
        left &= ~inside
        if n_kept == MAX_SLICES or not left.any():
            return
        remaining = judged.part(left)


def _slice(examples: Examples, judged: Judged, columns: Sequence[Levels], group: _Group) -> Slice:
    chosen = [(columns[column], level) for column, level in group.conditions]
    return described(
        examples,
        judged,
        members(columns, group.conditions),
        tuple((levels.name, levels.levels[level].label) for levels, level in chosen),
        " AND ".join(levels.levels[level].where for levels, level in chosen),
        log_p=group.log_p,
        q=group.q,
    )


def _confirmed(
    examples: Examples,
    judged: Judged,
    columns: Sequence[Levels],
    groups: Sequence[_Group],
    limit: float,
) -> list[Slice]:
    """The groups that are worse on examples which took no part in finding them."""
    tested = []
    for group in groups:
        inside = members(columns, group.conditions)
        log_p = judged.log_p(int(inside.sum()), judged.totals[inside].sum(axis=0).tolist())
        tested.append((group.conditions, log_p))
    qs = benjamini_hochberg([math.exp(log_p) for _, log_p in tested])
    return [
        _slice(examples, judged, columns, _Group(conditions=conditions, log_p=log_p, q=q))
        for (conditions, log_p), q in zip(tested, qs, strict=True)
        if q <= limit
    ]


def _seeking_half(examples: Examples) -> Mask:
    """Half of the originals, by a hash of their ids: copies of one stay together."""
    digests = (hashlib.sha256(source.encode()).digest()[0] for source in examples.sources)
    return np.array([digest % 2 == 0 for digest in digests], dtype=np.bool_)


def _parts(columns: Sequence[Levels], chosen: Mask) -> list[Levels]:
    return [
        Levels(name=column.name, codes=column.codes[chosen], levels=column.levels)
        for column in columns
    ]
