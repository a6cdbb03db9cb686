"""What a run was evaluated by: one series a metric, turned so that lower is better."""

import re
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.metric_direction import higher_is_better
from telemetry.store.sessions.rows import Rows

LOSS_WORDS = frozenset({"loss", "nll", "ce", "bce", "mse", "xent", "bpc", "bpb"})
PERPLEXITY = frozenset({"ppl", "perplexity"})
ERROR_WORDS = frozenset({"error", "errors", "err", "mae", "rmse", "mape", "wer", "cer", "eer"})


EVALUATIONS_SQL = """
SELECT
    m.name,
    m.step,
    MAX(m.value) AS value
FROM metrics AS m
WHERE m.run = $run
    AND m.phase = 'eval'
    AND m.value IS NOT NULL
GROUP BY m.name, m.step
ORDER BY m.name, m.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluated quantity over the steps, finite, lower is better."""

    name: str
    steps: IntArray
    values: FloatArray
    is_loss: bool

    @property
    def best(self) -> int:
        """Place of the best evaluation, of medians of three."""
        return int(np.argmin(self.smooth))

    @property
    def smooth(self) -> FloatArray:
        """Medians of three, so that one lucky evaluation is no best; ends by Tukey's rule."""
        if self.values.size < 4:  # noqa: PLR2004 - two medians of three, to continue to the ends
            return self.values
        windows = np.lib.stride_tricks.sliding_window_view(self.values, 3)
        middle = np.median(windows, axis=1)
        first = np.median([self.values[0], middle[0], 3 * middle[0] - 2 * middle[1]])
        last = np.median([self.values[-1], middle[-1], 3 * middle[-1] - 2 * middle[-2]])
        return np.concatenate([[first], middle, [last]])


def evaluated(rows: Rows) -> list[Evaluated]:
    """Evaluated quantities of known direction; perplexity counts as the loss it is made of.

    Args:
        rows: Of `EVALUATIONS_SQL`, or such columns by name and step.
    """
    codes, names = rows.codes("name")
    steps, values = rows.ints("step"), rows.floats("value")
    found = []
    for index, name in enumerate(names):
        words: list[str] = re.findall(r"[a-z]+", name.lower())
        is_higher = higher_is_better(name) and "throughput" not in words
        is_loss = not is_higher and not (LOSS_WORDS | PERPLEXITY).isdisjoint(words)
        if not (is_higher or is_loss) and ERROR_WORDS.isdisjoint(words):
            continue
        kept = (codes == index) & np.isfinite(values)
        own = -values[kept] if is_higher else values[kept]
        if is_loss and not PERPLEXITY.isdisjoint(words):
            own = np.log(np.maximum(own, 1.0))
        found.append(Evaluated(name=name, steps=steps[kept], values=own, is_loss=is_loss))
    return found
