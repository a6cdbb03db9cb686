"""What a step of a run costs: its time and tail, throughput, the wait for data, memory.

Everything is read into a few numbers with standard errors, so that a run can be compared after its
rows are gone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.compare.curves.align import Floats
from telemetry.compare.statistics.bootstrap import SEED, Indices, block_length, stationary_indices
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

if TYPE_CHECKING:
    from telemetry.json_values import Json

STEP_S = "step_s"
STEP_TAIL_S = "step_s_p95"
SAMPLES_PER_S = "samples_per_s"
DATA_S = "data_s"
PEAK_MEMORY_BYTES = "peak_memory_bytes"
TAIL = 0.95
PARTS = 5  # of a run, by which a slow change of the machine's load is seen
TAIL_STEPS = 100  # of fewer, resamples do not tell the error of a quantile that is near their end
# Compilation, the choice of kernels and the start of workers make the first steps slow.
WARM_UP_STEPS = 10
WARM_UP_SHARE = 0.2  # of a short run at most
RESAMPLED_STEPS = 500  # of longer runs some are resampled: the error comes out a little too large

# A step lasts as long as its slowest rank.
STEPS_SQL = """
SELECT
    step,
    MAX(step_s) AS step_s,
    MAX(data_s) AS data_s,
    SUM(samples) AS samples
FROM steps
WHERE run = $run
    AND step_s > 0
GROUP BY step
ORDER BY step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One cost of one run, and the relative standard error that its steps give.

    The error of `data_s`, which may be zero, is relative to the median step.
    """

    value: float
    error: float


RunCosts = Mapping[str, Cost]


def read_costs(session: Session, run: Run) -> RunCosts:
    """The costs of a run by name; what was not recorded is missing."""
    rows = session.query(STEPS_SQL, {"run": run.run})
    first = min(WARM_UP_STEPS, int(WARM_UP_SHARE * len(rows)))
    step_s, data_s, samples = (rows.floats(name)[first:] for name in ("step_s", DATA_S, "samples"))
    found = step_costs(step_s, data_s, samples)
    summary: Mapping[str, Json] = run.manifest.summary if run.manifest else {}
    peak = summary.get(PEAK_MEMORY_BYTES)
    if isinstance(peak, int | float) and peak > 0:
        found[PEAK_MEMORY_BYTES] = Cost(value=float(peak), error=0.0)
    return found


def step_costs(step_s: Floats, data_s: Floats, samples: Floats) -> dict[str, Cost]:
    """Costs of steps that are past the warm-up, with errors by the stationary block bootstrap.

    Args:
        step_s: Duration of each step in seconds, shape (n,), above zero.
        data_s: Of it, the wait for data; NaN where no data loader was read.
        samples: Samples of each step; NaN where they are not known.
    """
    if not step_s.size:
        return {}
    rows, parts = _resampled_rows(step_s), _parts(step_s.size)
    found = {STEP_S: _quantile(0.5, step_s, rows, parts)}
    if step_s.size >= TAIL_STEPS:
        found[STEP_TAIL_S] = _quantile(TAIL, step_s, rows, parts)
    if np.isfinite(samples).all() and samples.sum() > 0:
        found[SAMPLES_PER_S] = Cost(
            value=float(samples.sum() / step_s.sum()),
            error=_error(
                np.log(samples[rows].sum(axis=1) / step_s[rows].sum(axis=1)),
                np.log(np.array([samples[part].sum() / step_s[part].sum() for part in parts])),
            ),
        )
    if np.isfinite(data_s).any():
        waits = np.nan_to_num(data_s)
        error = _error(waits[rows].mean(axis=1), [float(waits[part].mean()) for part in parts])
        found[DATA_S] = Cost(value=float(waits.mean()), error=error / found[STEP_S].value)
    return found


def _resampled_rows(step_s: Floats) -> Indices:
    """Rows of each resample, shape (resamples, min(n, 500))."""
    kept = np.unique(np.linspace(0, step_s.size - 1, RESAMPLED_STEPS).astype(np.int64))
    block = block_length(np.log(step_s[kept]))
    return kept[stationary_indices(kept.size, block, np.random.default_rng(SEED))]


def _parts(n: int) -> list[Indices]:
    """Five parts of n steps, one after the other; fewer for fewer than ten steps."""
    return np.array_split(np.arange(n), min(PARTS, max(1, n // 2)))


def _quantile(share: float, step_s: Floats, rows: Indices, parts: Sequence[Indices]) -> Cost:
    return Cost(
        value=float(np.quantile(step_s, share)),
        error=_error(
            np.log(np.quantile(step_s[rows], share, axis=1)),
            [math.log(np.quantile(step_s[part], share)) for part in parts],
        ),
    )


def _error(resampled: Floats, of_parts: Sequence[float]) -> float:
    """The standard error of a cost as that of another run of the same code.

    To the error of resampling comes what the parts of the run differ by beyond it: a load of the
    machine that changes within a run also differs between two.
    """
    within = float(np.var(resampled))
    drift = float(np.var(of_parts, ddof=1)) if len(of_parts) > 1 else 0.0
    return math.sqrt(within + max(0.0, drift - len(of_parts) * within))
