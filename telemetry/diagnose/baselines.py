"""What a loss would be if the network knew nothing: the levels that progress is measured by.

The inputs of a known loss function bound its value. Where the recorded loss lies inside the bounds
of the function's mean, or of its sum over samples or elements, the levels are put in that unit;
where it lies in none (a weighted sum of several losses, an own function), no level is known and a
run is compared with its own start.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.progress import Baseline
from telemetry.diagnose.robust import FloatArray, IntArray
from telemetry.store.rows import Rows, SqlValue, as_float, as_text

BOUND_SLACK = 0.02  # float32 statistics, and a last batch of another size
CHECKED_STEPS = 5  # first sampled steps: there the bounds are narrow
GUESSED_FACTOR = 3.0  # where the answer was not recorded: a fresh network costs about the naive
LABELS_PER_CLASS = 10  # fewer make the entropy of the labels a guess

CROSS_ENTROPIES = frozenset({"cross_entropy", "nll_loss"})
BINARY = frozenset({"binary_cross_entropy_with_logits", "binary_cross_entropy"})
SQUARED = frozenset({"mse_loss"})

# 600 rows: the labels of 200 sampled batches are plenty.
LOSS_INPUTS_SQL = """
SELECT
    r.step,
    r.site,
    r.loss_op,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _LossInput:
    """Statistics of what a loss function was given at one step: logits, target, last output."""

    step: int
    site: str
    op: str
    n: int
    mean: float
    mean_square: float
    low: float
    high: float
    absmax: float
    n_units: int
    counts: FloatArray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What a loss function read at one sampled step, and the loss that was recorded there.

    `answer` is the logits, or for regressions the output of the last layer where it has the
    target's size; `samples` is the batch size, `calls` the backward passes that made it.
    """

    answer: _LossInput | None
    target: _LossInput | None
    loss: float
    samples: float
    calls: float


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
        return Baseline(kind=op, reason=f"no level is known for {op}")
    unit = _unit(op, pairs, levels[0])
    if unit is None:
        opposite = [replace(pair, loss=-pair.loss) for pair in pairs]
        return Baseline(
            kind=op,
            negated=all(pair.loss < 0 for pair in pairs)
            and _unit(op, opposite, levels[0]) is not None,
            reason=f"the loss is not {op} alone, nor its mean nor its sum",
        )
    naive, constant = levels
    return Baseline(
        naive=naive * unit, constant=None if constant is None else constant * unit, kind=op
    )


def _input(record: Mapping[str, SqlValue]) -> _LossInput:
    n = max(1, int(as_float(record["n"])))
    profile = record["profile"]
    counts = None
    if isinstance(profile, bytes) and len(profile) == 4 * as_float(record["n_profile"]):
        counts = np.frombuffer(profile, dtype=np.float32).astype(np.float64)
    n_units = record["n_units"]
    return _LossInput(
        step=int(as_float(record["step"])),
        site=as_text(record["site"]),
        op=as_text(record["loss_op"]),
        n=n,
        mean=as_float(record["sum"]) / n,
        mean_square=as_float(record["sumsq"]) / n,
        low=as_float(record["min"]),
        high=as_float(record["max"]),
        absmax=as_float(record["absmax"]),
        n_units=n_units if isinstance(n_units, int) else 0,
        counts=counts,
    )


def _paired(
    inputs: list[_LossInput], told: Mapping[int, tuple[float, float, float]]
) -> list[_Step]:
    by_step: dict[int, dict[str, _LossInput]] = {}
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
        found.append(_Step(answer=answer, target=target, loss=loss, samples=samples, calls=calls))
    return found


def _levels(
    op: str, logits: list[_LossInput], targets: list[_LossInput]
) -> tuple[float, float | None] | None:
    """Loss of a network that knows nothing and of the best constant, for the mean reduction."""
    if op in CROSS_ENTROPIES and logits and logits[0].n_units > 1:
        return math.log(logits[0].n_units), _label_entropy(targets)
    if op in BINARY:
        share = _mean([t.mean for t in targets])
        return math.log(2.0), None if share is None else _binary_entropy(share)
    square = _mean([t.mean_square for t in targets])
    mean = _mean([t.mean for t in targets])
    if op in SQUARED and square and mean is not None:
        return square, max(square - mean**2, 0.0) or None
    return None


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _binary_entropy(share: float) -> float | None:
    if not 0.0 < share < 1.0:
        return None
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def _label_entropy(targets: list[_LossInput]) -> float | None:
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


def _unit(op: str, pairs: list[_Step], naive: float) -> float | None:
    """Factor from the mean reduction to the recorded loss: 1, elements, or samples; None unknown.

    The elements may be those of one of several backward passes of a step: then the recorded loss
    is the mean of their sums. It must lie inside the bounds at each of the first sampled steps.
    """
    # Answers whose squares overflow bound nothing.
    checked = [p for p in pairs if p.answer is None or math.isfinite(p.answer.mean_square)]
    checked = checked[:CHECKED_STEPS]
    # Without the answer there are no bounds, and one unit too many would fit any loss.
    known = any(pair.answer is not None for pair in checked)
    accumulates = any(pair.calls > 1 for pair in checked)
    units = [_one, _elements, _samples, _elements_per_sample] if known else [_one]
    for unit in [*units, _elements_per_call] if known and accumulates else units:
        if checked and all(_inside(op, pair, unit(op, pair), naive) for pair in checked):
            return float(np.median([unit(op, pair) for pair in pairs]))
    return None


def _one(op: str, pair: _Step) -> float:
    del op, pair
    return 1.0


def _elements(op: str, pair: _Step) -> float:
    read = pair.target or pair.answer
    if op in CROSS_ENTROPIES and pair.answer is not None:
        return pair.answer.n / max(1, pair.answer.n_units)
    return float(read.n) if read is not None else math.nan


def _samples(op: str, pair: _Step) -> float:
    del op
    return pair.samples


def _elements_per_call(op: str, pair: _Step) -> float:
    return _elements(op, pair) / pair.calls


def _elements_per_sample(op: str, pair: _Step) -> float:
    return _elements(op, pair) / pair.samples if pair.samples else math.nan


def _inside(op: str, pair: _Step, unit: float, naive: float) -> bool:
    if not unit > 0:
        return False
    low, high = _bounds(op, pair, naive)
    return low * (1 - BOUND_SLACK) <= pair.loss / unit <= high * (1 + BOUND_SLACK)


def _bounds(op: str, pair: _Step, naive: float) -> tuple[float, float]:
    """Least and largest mean loss that these inputs allow; exact where the answer is known."""
    answer, target = pair.answer, pair.target
    if answer is None:
        return naive / GUESSED_FACTOR, naive * GUESSED_FACTOR
    if op in CROSS_ENTROPIES:
        # Logits are recorded without their row mean: lse lies between ln C (Jensen) and absmax
        # above it, and the label's logit within absmax of 0.
        middle = math.log(max(2, answer.n_units))
        return max(0.0, middle - answer.absmax), middle + 2 * answer.absmax
    if op == "binary_cross_entropy_with_logits":
        return max(0.0, math.log(2) - answer.absmax), math.log(2) + answer.absmax
    if op == "binary_cross_entropy":
        edge = max(min(answer.low, 1 - answer.high), 1e-44)
        return -math.log(min(1.0, max(answer.high, 1 - answer.low))), -math.log(edge)
    truth = math.sqrt(target.mean_square) if target is not None else math.nan
    given = math.sqrt(answer.mean_square)
    return (given - truth) ** 2, (given + truth) ** 2  # Minkowski
