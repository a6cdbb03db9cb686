"""Reads where two runs differ bit by bit, step by step.

Ranks are compared rank by rank or by their extremes, because sums over ranks depend on the order
of addition in the last bit.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STEPS_SQL = """
SELECT
    step,
    COUNT(loss) AS n_loss,
    MIN(loss) AS loss_low,
    MAX(loss) AS loss_high,
    COUNT(grad_norm_total) AS n_grad_norm,
    MIN(grad_norm_total) AS grad_norm_low,
    MAX(grad_norm_total) AS grad_norm_high,
    COUNT(lr) AS n_lr,
    MAX(lr) AS lr,
    SUM(samples) AS samples,
    COUNT(batch_hash) AS n_batch,
    COALESCE(MIN(batch_hash), 0) AS batch_low,
    COALESCE(MAX(batch_hash), 0) AS batch_high,
    COUNT(param_checksum) AS n_checksum,
    COALESCE(MIN(param_checksum), 0) AS checksum
FROM steps
WHERE run = $run
GROUP BY step
ORDER BY step
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CommonSteps:
    """Rows of two runs at the steps that both have; `at` holds the row numbers of each side."""

    steps: Ints
    base: Rows
    candidate: Rows
    at: tuple[Ints, Ints]

    def first(self, where: Mask) -> int | None:
        """The first step of a mask over the common steps."""
        found = np.flatnonzero(where)
        return int(self.steps[found[0]]) if found.size else None

    def before(self, step: int) -> int | None:
        """The last common step before a step."""
        place = int(np.searchsorted(self.steps, step))
        return int(self.steps[place - 1]) if place else None

    def relative_difference(self, step: int, name: str) -> float:
        """|a - b| / max(|a|, |b|) at a common step; NaN where a value is missing or not finite."""
        place = int(np.searchsorted(self.steps, step))
        left, right = (float(side[place]) for side in self.floats(name))
        largest = max(abs(left), abs(right))
        return abs(left - right) / largest if 0 < largest < math.inf else math.nan

    def shared_batches(self) -> float:
        """Share of the distinct batches of both runs, over their common steps, that both have."""
        both = self.both_have("n_batch")
        left, right = (np.unique(side[both]) for side in self._ints("batch_low"))
        together = np.union1d(left, right).size
        return np.intersect1d(left, right).size / together if together else 0.0

    def floats(self, name: str) -> tuple[Floats, Floats]:
        """A column of both sides."""
        return self.base.floats(name)[self.at[0]], self.candidate.floats(name)[self.at[1]]

    def both_have(self, count: str) -> Mask:
        """Where both sides recorded a value, by the column that counts it."""
        left, right = self._ints(count)
        return (left > 0) & (right > 0)

    def differs(self, count: str, *names: str) -> Mask:
        """Where both sides recorded a number and it is another one; NaN equals itself."""
        found = np.zeros(self.steps.size, dtype=np.bool_)
        for name in names:
            left, right = self.floats(name)
            found |= (left != right) & ~(np.isnan(left) & np.isnan(right))
        return found & self.both_have(count)

    def hash_differs(self, count: str, *names: str) -> Mask:
        """Where both sides recorded a hash and it is another one; exact above 2^53."""
        found = np.zeros(self.steps.size, dtype=np.bool_)
        for name in names:
            left, right = self._ints(name)
            found |= left != right
        return found & self.both_have(count)

    def _ints(self, name: str) -> tuple[Ints, Ints]:
        return self.base.ints(name)[self.at[0]], self.candidate.ints(name)[self.at[1]]


def common_steps(session: Session, base: Run, candidate: Run) -> CommonSteps:
    """Rows of table `steps` of both runs, ranks merged by extremes."""
    left, right = (session.query(STEPS_SQL, {"run": run.run}) for run in (base, candidate))
    steps, at_left, at_right = np.intersect1d(
        left.ints("step"), right.ints("step"), assume_unique=True, return_indices=True
    )
    return CommonSteps(steps=steps, base=left, candidate=right, at=(at_left, at_right))
