"""What a loss would be if the network knew nothing: the levels that progress is measured by.

The inputs of a known loss function bound its value. Where the recorded loss lies inside the bounds
of the function's mean, or of its sum over samples or elements, the levels are put in that unit;
where it lies in none (a weighted sum of several losses, an own function), no level is known and a
run is compared with its own start (`telemetry.diagnose.judgement.loss_units`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from telemetry.diagnose.judgement.loss_units import (
    CROSS_ENTROPIES,
    HUBER,
    SQUARED,
    LossInput,
    LossStep,
    huber_level,
    unit_of,
)
from telemetry.diagnose.judgement.progress import Baseline
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.format.loss_operations import BINARY
from telemetry.store.sessions.rows import Rows, SqlValue, as_float, as_text

LABELS_PER_CLASS = 10  # fewer make the entropy of the labels a guess


# 600 rows: the labels of 200 sampled batches are plenty.
LOSS_INPUTS_SQL = """
SELECT
    r.step,
    r.site,
    r.loss_op,
    COUNT(*) AS forwards,
    SUM(r.n) AS n,
    SUM(r.sum) AS sum,
    SUM(r.sumsq) AS sumsq,
    MIN(r.min) AS min,
    MAX(r.max) AS max,
    MAX(r.absmax) AS absmax,
    MAX(r.n_units) AS n_units,
    MAX(r.n_profile) AS n_profile,
    MAX(r.profile) AS profile
FROM module_rows AS r
JOIN modules AS m
    ON m.project = r.project
    AND m.run = r.run
    AND m.module_id = r.module_id
WHERE r.run = $run
    AND r.phase = 'train'
    AND r.n > 0
    AND (
        (m.path = '' AND r.site IN ('logits', 'target') AND r.loss_op IS NOT NULL)
        OR (m.path = $head AND r.site = 'output')
    )
GROUP BY r.step, r.site, r.loss_op
ORDER BY r.step, r.site
LIMIT 600
"""


def baseline(
    rows: Rows, steps: IntArray, losses: FloatArray, samples: FloatArray, calls: FloatArray
) -> Baseline:
    """Levels in the unit of the losses.

    Args:
        rows: Result of `LOSS_INPUTS_SQL`.
        steps: Steps of the losses, ascending.
        losses: Loss of each step, shape (n,).
        samples: Batch size of each step, shape (n,).
        calls: Backward passes of each step, shape (n,).
    """
    inputs = [_input(record) for record in rows.records()]
    ops = {entry.op for entry in inputs if entry.site != "output"}
    if len(ops) != 1:
        return Baseline(reason="no known loss function was seen" if not ops else "several losses")
    op = ops.pop()
    told = zip(losses.tolist(), samples.tolist(), np.fmax(calls, 1.0).tolist(), strict=True)
    pairs = _paired(inputs, dict(zip(steps.tolist(), told, strict=True)))
    targets = [entry for entry in inputs if entry.site == "target"]
    levels = _levels(op, [e for e in inputs if e.site == "logits"], targets)
    if levels is None:
        return Baseline(kind=op, reason=f"the score of random guessing is not known for {op}")
    unit = unit_of(op, pairs, levels[0])
    if unit is None:
        opposite = [replace(pair, loss=-pair.loss) for pair in pairs]
        return Baseline(
            kind=op,
            negated=all(pair.loss < 0 for pair in pairs)
            and unit_of(op, opposite, levels[0]) is not None,
            reason=f"the loss is neither the mean nor the sum of {op} alone",
        )
    naive, constant = levels
    return Baseline(
        naive=naive * unit,
        constant=None if constant is None else constant * unit,
        commonest=_commonest(op, targets),
        kind=op,
    )


def _input(record: Mapping[str, SqlValue]) -> LossInput:
    n = max(1, int(as_float(record["n"])))
    profile = record["profile"]
    counts = None
    if isinstance(profile, bytes) and len(profile) == 4 * as_float(record["n_profile"]):
        counts = np.frombuffer(profile, dtype=np.float32).astype(np.float64)
    n_units = record["n_units"]
    return LossInput(
        step=int(as_float(record["step"])),
        site=as_text(record["site"]),
        op=as_text(record["loss_op"]),
        n=n,
        forwards=int(as_float(record["forwards"])),
        mean=as_float(record["sum"]) / n,
        mean_square=as_float(record["sumsq"]) / n,
        low=as_float(record["min"]),
        high=as_float(record["max"]),
        absmax=as_float(record["absmax"]),
        n_units=n_units if isinstance(n_units, int) else 0,
        counts=counts,
    )


def _paired(
    inputs: list[LossInput], told: Mapping[int, tuple[float, float, float]]
) -> list[LossStep]:
    by_step: dict[int, dict[str, LossInput]] = {}
    for entry in inputs:
        by_step.setdefault(entry.step, {})[entry.site] = entry
    found = []
    for step, sites in by_step.items():
        loss, samples, calls = told.get(step, (math.nan, math.nan, 1.0))
        if not math.isfinite(loss) or not {"logits", "target"} & sites.keys():
            continue
        answer, target = sites.get("logits"), sites.get("target")
        output = sites.get("output")
        if answer is None and output is not None and target is not None and output.n == target.n:
            answer = output
        found.append(
            LossStep(answer=answer, target=target, loss=loss, samples=samples, calls=calls)
        )
    return found


def _levels(
    op: str, logits: list[LossInput], targets: list[LossInput]
) -> tuple[float, float | None] | None:
    """Loss of a network that knows nothing and of the best constant, for the mean reduction."""
    if op in CROSS_ENTROPIES and logits and logits[0].n_units > 1:
        return math.log(logits[0].n_units), _label_entropy(targets)
    if op in BINARY:
        share = _mean([t.mean for t in targets])
        return math.log(2.0), None if share is None else _binary_entropy(share)
    square = _mean([t.mean_square for t in targets])
    mean = _mean([t.mean for t in targets])
    if not square or mean is None:
        return None
    variance = max(square - mean**2, 0.0)
    if op in SQUARED:
        return square, variance or None
    if op in HUBER:
        largest = max(t.absmax for t in targets)
        apart = max(max(t.high - mean, mean - t.low) for t in targets)
        return huber_level(mean, variance, largest), huber_level(0.0, variance, apart) or None
    return None


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _binary_entropy(share: float) -> float | None:
    if not 0.0 < share < 1.0:
        return None
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def _commonest(op: str, targets: list[LossInput]) -> float | None:
    """Share of the commonest class among the labels of all sampled batches."""
    if op in BINARY:
        share = _mean([t.mean for t in targets])
        return None if share is None or not 0 <= share <= 1 else max(share, 1 - share)
    counts = [t.counts for t in targets if t.counts is not None]
    if op not in CROSS_ENTROPIES or not counts or len({c.size for c in counts}) != 1:
        return None
    total = np.sum(counts, axis=0)
    return float(total.max() / total.sum()) if total.sum() else None


def _label_entropy(targets: list[LossInput]) -> float | None:
    """Entropy of the labels of all sampled batches, with Miller's correction for their number."""
    counts = [t.counts for t in targets if t.counts is not None]
    if not counts or len({c.size for c in counts}) != 1:
        return None
    total = np.sum(counts, axis=0)
    n = float(total.sum())
    seen = total[total > 0]
    if n < LABELS_PER_CLASS * max(2, seen.size):
        return None
    share = seen / n
    entropy = float(-(share * np.log(share)).sum()) + (seen.size - 1) / (2 * n)
    return min(entropy, math.log(total.size)) if total.size > 1 else None
