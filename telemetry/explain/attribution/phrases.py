"""The phrase of a text that decides: neighbouring tokens that are hidden together.

Of a phrase, single tokens may say little: any of them stands in for the others, or each is nothing
without them. The score itself is asked, with all of them hidden at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.explain.attribution.methods import Problem
from telemetry.explain.results.check import EMPTY

LONGEST = 5  # tokens
STRONGEST = 5  # tokens, one of which a phrase contains
NEARLY = 0.9  # of the largest fall, by which a shorter phrase does
TWICE = 2.0  # what the strongest token does alone, from which a phrase is more than that token


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Neighbouring tokens, and what hiding them all does to the score.

    Attributes:
        name: Their places and words.
        value: By how much the score falls.
        single: By how much it falls at most where one token is hidden.
    """

    name: str
    value: float
    single: float


def strongest_phrase(
    problem: Problem, references: Sequence[Tensor], per_segment: Tensor
) -> Phrase | None:
    """The shortest phrase that does nearly all that one of up to five tokens can do.

    None: no phrase does twice what its strongest token does alone.

    Args:
        problem: A text whose parts are its tokens.
        references: What hidden tokens are replaced by; the mean over them counts.
        per_segment: An attribution, shape (n_segments,): phrases with a strong token are tried.
    """
    n = len(per_segment)
    strongest = per_segment.topk(min(STRONGEST, n)).indices.tolist()
    spans = sorted(
        {
            (start, start + size)
            for size in range(1, min(LONGEST, n) + 1)
            for start in range(n - size + 1)
            if any(start <= place < start + size for place in strongest)
        },
        key=lambda span: span[1] - span[0],
    )
    kept = torch.ones(len(spans) + 1, n, dtype=torch.bool)
    for row, (start, end) in enumerate(spans):
        kept[row, start:end] = False
    scores = problem.mixed_scores(kept, references).mean(1)
    falls = (scores[-1] - scores[:-1]).tolist()
    alone = [fall for fall, (start, end) in zip(falls, spans, strict=True) if end == start + 1]
    most, single = max(falls), max(alone)
    if most <= EMPTY or most < TWICE * single:
        return None
    best = next(place for place, fall in enumerate(falls) if fall >= NEARLY * most)
    return Phrase(
        name=_name(problem.segments.names[slice(*spans[best])]), value=falls[best], single=single
    )


def _name(parts: Sequence[str]) -> str:
    """`3:per`, `4:our` as `3-4:per our`."""
    places, words = zip(*(name.partition(":")[::2] for name in parts), strict=True)
    return f"{places[0]}-{places[-1]}:{' '.join(words)}"
