"""Which parameters each of two runs trains; frozen ones have no rows and are in no checksum.

What was recorded of the weights can be compared only as far as both runs recorded it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

SHOWN = 4  # names
UNEQUAL_STEPS_SQL = """
SELECT DISTINCT
    step
FROM (
    SELECT
        r.step,
        r.tensor_id
    FROM tensor_rows AS r
    JOIN tensors AS t
        ON t.run = r.run
        AND t.tensor_id = r.tensor_id
    WHERE t.kind = 'weight'
        AND (
            r.run = $base
            OR r.run = $candidate
        )
    GROUP BY
        r.step,
        r.tensor_id
    HAVING COUNT(DISTINCT r.run) = 1
) AS unequal
ORDER BY step
"""
RECORDED_AT_SQL = """
SELECT DISTINCT
    t.depth,
    t.name
FROM tensors AS t
JOIN tensor_rows AS r
    ON r.run = t.run
    AND r.tensor_id = t.tensor_id
WHERE t.run = $run
    AND t.kind = 'weight'
    AND r.step = $step
ORDER BY
    t.depth,
    t.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Names of parameters at a step that both runs sampled.

    Attributes:
        base_only: Trained in the base, not in the candidate, in order of execution.
        candidate_only: The other way round.
        unread: Of which at least one run recorded no weights.
    """

    base_only: tuple[str, ...] = ()
    candidate_only: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the runs train other parameters."""
        return bool(self.base_only or self.candidate_only)

    def __str__(self) -> str:
        """`2 parameters are trained in the base only: 0.weight, 0.bias`; empty if none is."""
        sides = (("base", self.base_only), ("candidate", self.candidate_only))
        return "; ".join(
            f"{_counted(names)} trained only in the {side}: {listed(names)}"
            for side, names in sides
            if names
        )


def steps_of_other_parameters(session: Session, base: Run, candidate: Run) -> npt.NDArray[np.int64]:
    """Steps at which a parameter's weights were recorded in one of the runs only."""
    places = {"base": base.run, "candidate": candidate.run}
    return session.query(UNEQUAL_STEPS_SQL, places).ints("step")


def trained(
    session: Session, base: Run, candidate: Run, step: int, parameters: Sequence[str]
) -> Trained:
    """What the two runs train at a step; nothing is known where one of them sampled nothing.

    Args:
        session: Over both runs.
        base: One run.
        candidate: The other.
        step: A common step.
        parameters: Names of the parameters that both models have.
    """
    left, right = (
        session.query(RECORDED_AT_SQL, {"run": run.run, "step": step}).texts("name")
        for run in (base, candidate)
    )
    if not left or not right:
        return Trained()
    of_base, of_candidate, shared = frozenset(left), frozenset(right), frozenset(parameters)
    return Trained(
        base_only=tuple(name for name in left if name in shared - of_candidate),
        candidate_only=tuple(name for name in right if name in shared - of_base),
        unread=tuple(name for name in parameters if name not in of_base & of_candidate),
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _counted(names: Sequence[str]) -> str:
    return "1 parameter is" if len(names) == 1 else f"{len(names)} parameters are"
