"""Reads where two runs differ bit by bit: steps, parameters and sampled tensors.

Ranks are compared rank by rank or by their extremes, because sums over ranks depend on the order
of addition in the last bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.store.catalog import Run
from telemetry.store.rows import Rows
from telemetry.store.session import Session

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
WEIGHTS_SQL = """
SELECT
    name,
    module,
    shape
FROM tensors
WHERE run = $run
    AND kind = 'weight'
ORDER BY
    depth,
    name
"""
# Tensors whose statistics differ at the first sampled step that shows any difference. NULL stands
# for "no finite value" or "not recorded" and differs from a number, but not from itself.
DIFFERING_SQL = """
WITH differing AS (
    SELECT
        b.step,
        b.tensor_id
    FROM tensor_rows AS b
    JOIN tensor_rows AS c
        ON c.step = b.step
        AND c.tensor_id = b.tensor_id
        AND c.rank = b.rank
    WHERE b.run = $base
        AND c.run = $candidate
        AND b.step BETWEEN $since AND $until
        AND (
            b.n_sampled <> c.n_sampled
            OR b.n_zero <> c.n_zero
            OR b.n_nan <> c.n_nan
            OR b.n_inf <> c.n_inf
            OR COALESCE(b.sumsq, -1) <> COALESCE(c.sumsq, -1)
            OR COALESCE(b.sum, 0) <> COALESCE(c.sum, 0)
            OR HEX(b.hist) <> HEX(c.hist)
        )
)
SELECT DISTINCT
    d.step,
    t.kind,
    t.name,
    t.module,
    t.depth
FROM differing AS d
JOIN tensors AS t
    ON t.tensor_id = d.tensor_id
WHERE t.run = $base
    AND d.step = (SELECT MIN(step) FROM differing)
ORDER BY
    t.depth,
    t.name
"""

SAMPLED_SQL = """
SELECT
    run,
    COUNT(*) AS n
FROM tensor_rows
WHERE kind = 'weight'
    AND step = $step
    AND (run = $base OR run = $candidate)
GROUP BY run
ORDER BY run
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """The first sampled step at which tensors differ, and those tensors in order of depth."""

    step: int
    kinds: tuple[str, ...]
    names: tuple[str, ...]
    layers: tuple[str, ...]

    def first(self, kind: str) -> tuple[str, str] | None:
        """Layer and parameter of the first differing tensor of a kind."""
        found = zip(self.kinds, self.layers, self.names, strict=True)
        return next(((layer, name) for k, layer, name in found if k == kind), None)


def common_steps(session: Session, base: Run, candidate: Run) -> CommonSteps:
    """Rows of table `steps` of both runs, ranks merged by extremes."""
    left, right = (session.query(STEPS_SQL, {"run": run.run}) for run in (base, candidate))
    steps, at_left, at_right = np.intersect1d(
        left.ints("step"), right.ints("step"), assume_unique=True, return_indices=True
    )
    return CommonSteps(steps=steps, base=left, candidate=right, at=(at_left, at_right))


def parameter_shapes(session: Session, run: Run) -> Mapping[str, tuple[str, str]]:
    """Layer and shape of every parameter by name, in order of depth."""
    rows = session.query(WEIGHTS_SQL, {"run": run.run})
    layers = zip(rows.texts("module"), rows.texts("shape"), strict=True)
    return dict(zip(rows.texts("name"), layers, strict=True))


def tensor_difference(
    session: Session, base: Run, candidate: Run, *, since: int, until: int
) -> TensorDifference | None:
    """The first sampled step from `since` to `until` at which tensors of both runs differ."""
    rows = session.query(
        DIFFERING_SQL,
        {"base": base.run, "candidate": candidate.run, "since": since, "until": until},
    )
    if not len(rows):
        return None
    return TensorDifference(
        step=int(rows.ints("step")[0]),
        kinds=tuple(rows.texts("kind")),
        names=tuple(rows.texts("name")),
        layers=tuple(rows.texts("module")),
    )


def weights_sampled_at(session: Session, base: Run, candidate: Run, step: int) -> bool:
    """Whether both runs sampled weights at a step."""
    rows = session.query(SAMPLED_SQL, {"base": base.run, "candidate": candidate.run, "step": step})
    return len(rows) == 2  # noqa: PLR2004 - one row a run
