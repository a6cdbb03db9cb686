"""Whether what the user measures has become better although the loss has not.

A loss says that a run does not learn; a metric that names its own direction can say that it does.
In reinforcement learning returns rise while the value error does; the sum of a loss and a growing
penalty rises while its main part falls; a model that was trained before begins near its best loss.
"""

import re
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.evaluations import ERROR_WORDS, LOSS_WORDS
from telemetry.diagnose.judgement.loss_units import CROSS_ENTROPIES
from telemetry.diagnose.judgement.progress import (
    BASELINE_SHARE,
    CONVERGED_SHARE,
    DROP_LIMIT,
    LARGE_DROP,
    SIGNAL_LIMIT,
    Baseline,
)
from telemetry.diagnose.judgement.robust import MEDIAN_INEFFICIENCY, FloatArray, step_noise
from telemetry.format.loss_operations import BINARY
from telemetry.metric_direction import higher_is_better
from telemetry.store.sessions.rows import Rows

BINS = 48  # medians of successive values: a metric of each step is noisy
MIN_VALUES = 5
SAME_UNIT = 3.0  # an evaluated mean is another one than a sum over a batch
MAIN_SHARE = 0.5  # of the first loss: a part that was more of it is its main part ...
PART_SHARE = 0.95  # ... and one that was all of it is no part
CLASSES = CROSS_ENTROPIES | BINARY
PART_WORDS = LOSS_WORDS | frozenset({"reconstruction", "recon", "rec"})
POLICY = re.compile(r"(?:^|[_/.])(?:policy|actor|pi|pg)_?loss$", re.IGNORECASE)
VALUE = re.compile(r"(?:^|[_/.])(?:value|critic|vf?|qf?\d?|td)_?(?:loss|error)$", re.IGNORECASE)

IMPROVEMENT_SQL = """
SELECT
    b.name,
    b.is_eval,
    b.bin,
    MEDIAN(b.value) AS value
FROM (
    SELECT
        m.name,
        m.value,
        CASE WHEN m.phase = 'eval' THEN 1 ELSE 0 END AS is_eval,
        CAST(
            FLOOR(
                $bins
                * (ROW_NUMBER() OVER (PARTITION BY m.name, m.phase ORDER BY m.step) - 1)
                / COUNT(*) OVER (PARTITION BY m.name, m.phase)
            ) AS INTEGER
        ) AS bin
    FROM metrics AS m
    WHERE m.run = $run
        AND m.value IS NOT NULL
        AND ISFINITE(m.value)
) AS b
GROUP BY b.name, b.is_eval, b.bin
ORDER BY b.name, b.is_eval, b.bin
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What contradicts the loss: a metric and its levels, or names that say the loss is no measure.

    Attributes:
        words: One clause, to be told as the reason.
        is_measure: It is what the user judges the model by.
        is_part: It is the main part of a loss that is a sum: the level of none of its terms is its.
    """

    words: str
    is_measure: bool = False
    is_part: bool = False


def improvement(rows: Rows, *, first_loss: float, levels: Baseline) -> Improvement | None:
    """The clearest contradiction, that of a measure first.

    A network that finds the label frequencies and nothing else becomes better, too. So where the
    level of the constant answer is known an evaluated loss must end below it; another measure of a
    classifier does not count, and one of a regression (R2, a correlation) if it is above zero.

    Args:
        rows: Of `IMPROVEMENT_SQL`.
        first_loss: In whose unit parts of the loss are.
        levels: Of the loss.
    """
    codes, names = rows.codes("name")
    is_eval, values = rows.ints("is_eval") > 0, rows.floats("value")
    series = [
        (name, evaluated, values[(codes == index) & (is_eval == evaluated)])
        for index, name in enumerate(names)
        for evaluated in (True, False)
    ]
    for name, evaluated, own in series:
        words = set(re.findall(r"[a-z]+", name.lower()))
        better = higher_is_better(name) and "throughput" not in words
        is_error = evaluated and not (LOSS_WORDS | ERROR_WORDS).isdisjoint(words)
        least = LARGE_DROP if better else DROP_LIMIT
        counts = better or is_error
        if levels.constant is not None and own.size:
            is_loss = is_error and _is_of(own, first_loss, levels.constant)
            counts = is_loss or (better and levels.kind not in CLASSES and own[-1] > 0)
        if counts and _improves(-own if better else own, least=least):
            return Improvement(words=_told(name, own), is_measure=True)
    for name, evaluated, own in series:
        words = set(re.findall(r"[a-z]+", name.lower()))
        if evaluated or PART_WORDS.isdisjoint(words) or not own.size:
            continue
        main = own.min() >= 0 and MAIN_SHARE * first_loss <= own[0] <= PART_SHARE * first_loss
        if main and own[-1] <= CONVERGED_SHARE * own[0] and _improves(own, least=LARGE_DROP):
            text = f"the main part of the loss improved: {_told(name, own)}"
            return Improvement(words=text, is_part=True)
    policy, value = ([n for n in names if known.search(n)] for known in (POLICY, VALUE))
    if policy and value:
        text = f"the metrics {policy[0]} and {value[0]} suggest reinforcement learning"
        return Improvement(words=text)
    return None


def _is_of(values: FloatArray, first_loss: float, level: float) -> bool:
    """An evaluated loss in the unit of the recorded one, which ends below the constant answer's."""
    same = first_loss / SAME_UNIT <= values[0] <= first_loss * SAME_UNIT
    return bool(same and values[-1] <= BASELINE_SHARE * level)


def _told(name: str, values: FloatArray) -> str:
    k = max(1, values.size // 3)
    first, last = float(np.median(values[:k])), float(np.median(values[-k:]))
    return f"{name} went from {first:.3g} to {last:.3g}"


def _improves(values: FloatArray, *, least: float) -> bool:
    """Lower from third to third, by so much of the first third, and beyond the noise."""
    if values.size < MIN_VALUES:
        return False
    k = max(2, values.size // 3)
    parts = (values[:k], values[k:-k], values[-k:])
    first, middle, last = (float(np.median(part)) for part in parts)
    error = MEDIAN_INEFFICIENCY * step_noise(values) * float(np.sqrt(2 / k))
    fall = first - last
    return first > middle > last and fall >= least * abs(first) and fall >= SIGNAL_LIMIT * error
