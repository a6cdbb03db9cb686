"""The same examples under two models."""

from dataclasses import dataclass

import numpy as np

from telemetry.evaluate.stored.evaluations import Examples

UNPAIRED_LIMIT = 0.05  # share of examples; with more, the two sides do not answer one question


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Examples of two evaluations with the same id and the same input, in one order.

    Attributes:
        base: Those of the base.
        candidate: Those of the candidate.
        n_alone: Ids that only one side has.
        n_changed: Ids of both sides whose input differs.
    """

    base: Examples
    candidate: Examples
    n_alone: int
    n_changed: int

    def __len__(self) -> int:
        return len(self.base)

    @property
    def fault(self) -> str:
        """Why the pairs do not stand for the data set, '' when they do."""
        n_all = len(self) + self.n_alone + self.n_changed
        if self.n_changed > UNPAIRED_LIMIT * n_all:
            return (
                f"{self.n_changed} of {n_all} examples have the same id but a different input; "
                "does the data set augment at random?"
            )
        if self.n_alone > UNPAIRED_LIMIT * n_all:
            return f"{self.n_alone} of {n_all} examples were evaluated on one side only"
        return "" if len(self) else "no example was evaluated on both sides"

    @property
    def note(self) -> str:
        """What was left out, '' when nothing was."""
        n_left = self.n_alone + self.n_changed
        return f"{n_left} examples have no partner and are not used" if n_left else ""


def paired_examples(base: Examples, candidate: Examples) -> Pairs:
    """Examples that both sides judged; where a side kept no digest, the id alone must do."""
    base_ids, candidate_ids = base.ids, candidate.ids
    place = {example_id: at for at, example_id in enumerate(base_ids)}
    base_digests, digests = (e.rows.texts("input_digest") for e in (base, candidate))
    both = [(place[i], at) for at, i in enumerate(candidate_ids) if i in place]
    found = [
        (first, second)
        for first, second in both
        if base_digests[first] == digests[second] or "" in {base_digests[first], digests[second]}
    ]
    order = np.array(found, dtype=np.int64).reshape(-1, 2)
    return Pairs(
        base=base.at(order[:, 0]),
        candidate=candidate.at(order[:, 1]),
        n_alone=len(set(base_ids) ^ set(candidate_ids)),
        n_changed=len(both) - len(found),
    )
