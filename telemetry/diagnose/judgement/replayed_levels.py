"""Levels of a loss that was followed from the model's output and run again with constant answers.

They are in the unit of what the backward pass starts from. The recorded loss is in another where
it was scaled or divided: a factor that stays, but for powers of two, which a loss scaler moves by.
A penalty on the weights counts as it is at the end: to shrink it is no learning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.judgement.progress import Baseline
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.store.sessions.rows import Rows

OWN = "own loss"
OF_CLASSES = {"log_softmax", "softmax"}
SAME_BITS = 0.02  # of the factor, log2: 1.4 %
SAME_SHARE = 0.8  # of the steps: a loss near zero has no factor
AGREES = 0.2  # of the level: closed forms know all labels, replays the last few batches
UNKNOWN = "no known loss function was seen"
LAST_PENALTIES = 3
LEAST = 1e-6  # of a root, of the largest: smaller ones are rounding

LOSS_GRAPHS_SQL = """
SELECT
    g.step,
    AVG(g.root) AS root,
    COUNT(*) AS calls,
    AVG(g.constant_loss) AS constant_loss,
    COUNT(g.constant_loss) AS n_constant,
    AVG(g.naive_loss) AS naive_loss,
    COUNT(g.naive_loss) AS n_naive,
    AVG(g.penalty_part) AS penalty,
    MAX(g.operation) AS operation,
    MAX(g.head) AS head,
    MAX(g.reason) AS reason
FROM loss_graphs AS g
WHERE g.run = $run
    AND (g.pair IS NULL OR g.pair = 0)
    AND g.root IS NOT NULL
GROUP BY g.step
ORDER BY g.step
LIMIT 400
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Levels of followed losses; `levels` is None where they are not known, and why."""

    levels: Baseline | None
    reason: str = ""


def replayed(rows: Rows, steps: IntArray, losses: FloatArray, calls: FloatArray) -> Replayed:
    """Levels in the unit of the recorded losses.

    Args:
        rows: Result of `LOSS_GRAPHS_SQL`.
        steps: Steps of the losses, ascending.
        losses: Loss of each step, shape (n,).
        calls: Backward passes of each step, shape (n,).
    """
    if not len(rows) or not steps.size:  # a run that has just begun has no steps yet
        return Replayed(levels=None)
    known = rows.ints("n_constant") == rows.ints("calls")
    reasons = [reason for reason in rows.texts("reason") if reason]
    if not known.any():
        return Replayed(levels=None, reason=reasons[-1] if reasons else "")
    followed, roots = rows.ints("step"), rows.floats("root")
    places = np.searchsorted(steps, followed)
    found = (places < steps.size) & (steps[np.minimum(places, steps.size - 1)] == followed)
    own = losses[np.where(found, places, 0)]
    # Passes beyond those that were followed are like them.
    passes = np.fmax(calls[np.where(found, places, 0)], 1.0)
    roots = roots * passes
    factors = _factors(own, roots, found)
    if factors is None:
        return Replayed(levels=None, reason="the recorded loss is not what backward starts from")
    share = passes * factors
    since = _penalties_since(rows.floats("penalty"))
    naives = (rows.floats("naive_loss") + since) * share
    naive = _level(naives[rows.ints("n_naive") == rows.ints("calls")])
    constant = _level(((rows.floats("constant_loss") + since) * share)[known])
    if naive is not None and constant is not None:
        constant = min(constant, naive)  # to know nothing is a constant answer too
    return Replayed(
        levels=Baseline(
            naive=naive,
            constant=constant,
            kind=_kind(rows.texts("operation"), rows.texts("head")),
        )
    )


def joined(known: Baseline, followed: Replayed) -> Baseline:
    """The levels of a run: those of a known function, of all labels, where the loss is that alone.

    What was run again is the whole loss. Where it disagrees with the closed form, the loss is a sum
    whose parts the closed form cannot tell apart.
    """
    levels = followed.levels
    if levels is None:
        told = known.reason in {"", UNKNOWN} and known.naive is None and followed.reason
        return replace(known, reason=followed.reason) if told else known
    if known.negated or known.constant is None or levels.constant is None:
        return known if known.negated else replace(levels, kind=known.kind or levels.kind)
    near = abs(known.constant - levels.constant) <= AGREES * levels.constant
    return known if near else replace(levels, kind=known.kind)


def _factors(losses: FloatArray, roots: FloatArray, found: object) -> FloatArray | None:
    """Recorded loss over root at each step, without the noise of losses near zero."""
    large = np.abs(roots) > LEAST * np.abs(roots).max()
    usable = np.asarray(found) & large & np.isfinite(losses) & (losses * roots > 0)
    if not usable.any():
        return None
    bits = np.full(roots.shape, np.nan)
    bits[usable] = np.log2(losses[usable] / roots[usable])
    first = float(bits[usable][0])
    apart = bits - first
    whole = np.round(apart)
    same = np.abs(apart - whole) <= SAME_BITS
    if same[usable].mean() < SAME_SHARE:
        return None
    return np.where(usable & same, 2.0 ** (first + np.nan_to_num(whole)), np.nan)


def _penalties_since(penalties: FloatArray) -> FloatArray:
    """What the penalties have grown by from each step to the last; 0 where there are none."""
    known = penalties[np.isfinite(penalties)]
    if not known.size:
        return np.zeros(penalties.shape)
    last = float(np.median(known[-LAST_PENALTIES:]))
    return np.nan_to_num(last - penalties)


def _level(values: FloatArray) -> float | None:
    finite = values[np.isfinite(values)]
    # The first constants were fitted to few batches.
    value = float(np.median(finite[finite.size // 3 :])) if finite.size else math.nan
    return value if value > 0 else None


def _kind(operations: Sequence[str], heads: Sequence[str]) -> str:
    """The loss function by the names that known ones have; '' where no output meets a target."""
    operation = next((name for name in operations if name), "")
    if not operation:
        return ""
    head = next((name for name in heads if name), "")
    if head in OF_CLASSES and operation not in {"sub", "mse_loss"}:
        return "cross_entropy"
    if operation.startswith("binary_cross_entropy") or (operation == "mul" and head == "log"):
        return "binary_cross_entropy"
    return OWN
