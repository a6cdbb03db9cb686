"""Functions in a row between a layer and the loss, as `loss_graphs` has them."""

from dataclasses import dataclass
from itertools import pairwise

from telemetry.store.sessions.rows import Rows

MIN_STEPS = 3
LEAST_SHARE = 0.5  # of the followed steps: other calls of a step may have other losses


@dataclass(frozen=True, slots=True, kw_only=True)
class LossChain:
    """One chain, on most of the followed steps.

    Attributes:
        path: Of the module whose output it begins with; '' for the model.
        steps: Names of the functions.
        n_steps: Optimizer steps on which it was seen.
        first_step: The first of them.
        last_step: The last.
    """

    path: str
    steps: tuple[str, ...]
    n_steps: int
    first_step: int
    last_step: int

    @property
    def layer(self) -> str | None:
        """The module, None for the model."""
        return self.path or None

    @property
    def subject(self) -> str:
        """Whose output it is, in words."""
        return f"the output of {self.path or 'the model'}"

    def pairs(self) -> list[tuple[str, str]]:
        """Functions that follow each other."""
        return list(pairwise(self.steps))


def loss_chains(rows: Rows, column: str = "chains") -> list[LossChain]:
    """Chains in the order in which they were seen first.

    Args:
        rows: Of `loss_graphs`: at least `step`.
        column: Has what the table calls `chains`.
    """
    seen: dict[tuple[str, ...], list[int]] = {}
    followed = rows.ints("step").tolist()
    for step, text in zip(followed, rows.texts(column), strict=True):
        for told in filter(None, (text or "").split("; ")):
            path, _, steps = told.rpartition(": ")
            seen.setdefault((path, *steps.split()), []).append(step)
    least = max(MIN_STEPS, LEAST_SHARE * len(set(followed)))
    return [
        LossChain(
            path=path,
            steps=tuple(steps),
            n_steps=len(set(at)),
            first_step=min(at),
            last_step=max(at),
        )
        for (path, *steps), at in seen.items()
        if len(set(at)) >= least
    ]
