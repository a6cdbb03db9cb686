"""The training waits for its data.

Symptom: in the usual stretch of 50 steps half of the time goes by waiting for the batches of the
DataLoader, at least 5 ms a step; eight tenths on an accelerator, whose work goes on meanwhile.
Fix: more workers, prefetching, pinned memory, cheaper transforms, data kept decoded.
Not flagged: the first ten steps; single pauses (first epoch, checkpoints, evaluation: stretches are
compared by their median); loops so fast that no wait matters; loops that read no DataLoader.
Information: three tenths of the time.
Source: the profiler rules of Amazon SageMaker Debugger (IOBottleneck, Dataloader).

Stretches, not steps: with several workers batches come in bursts, and the wait of the median step
is zero while the loop stands still half of the time.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import example
from telemetry.json_values import json_list, parsed_object
from telemetry.store.sessions.rows import Rows

ID = "input_stall"
WAIT_LIMIT = 0.5  # of the time; reasoned, not calibrated on healthy populations
WAIT_LIMIT_ASYNC = 0.8  # the host may wait while the device works on what was launched before
WAIT_INFO = 0.3
LEAST_WAIT_S = 0.005  # a step; below, nobody would wait less for more workers
WARM_UP_STEPS = 10
STRETCH = 50  # steps
KNOWN_SHARE = 0.5  # of the steps read a loader
CPU = "cpu"

SQL = """
SELECT
    'step' AS what,
    s.rank,
    s.step,
    CAST(s.data_s AS DOUBLE) AS data_s,
    CAST(s.step_s AS DOUBLE) AS step_s,
    '' AS name
FROM steps AS s
WHERE s.run = $run
    AND s.step_s IS NOT NULL
UNION ALL
SELECT
    'attach' AS what,
    e.rank,
    e.step,
    0.0 AS data_s,
    0.0 AS step_s,
    e.payload AS name
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'attach'
ORDER BY what, rank, step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The share of the time that goes by waiting, in the usual stretch of steps."""
    del context
    codes, names = rows.codes("what")
    is_step = codes == names.index("step") if "step" in names else np.zeros(len(rows), dtype=bool)
    steps = Rows(rows.arrow.filter(is_step))
    ranks = steps.ints("rank")
    own = ranks == (ranks.min() if ranks.size else 0)
    step = steps.ints("step")[own][WARM_UP_STEPS:]
    data_s = steps.floats("data_s")[own][WARM_UP_STEPS:]
    step_s = steps.floats("step_s")[own][WARM_UP_STEPS:]
    if step.size < STRETCH or np.isfinite(data_s).mean() < KNOWN_SHARE:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {STRETCH} steps with a known data wait; read the batches from a "
            "torch DataLoader in the training thread",
            absent=not np.isfinite(data_s).any(),
        )
    waits, times = _stretches(np.nan_to_num(data_s)), _stretches(step_s)
    share = float(np.median(np.minimum(waits / np.maximum(times, 1e-9), 1.0)))
    # A quarter of the stretches may be slow because of what else the machine does.
    wait_s = float(np.quantile(waits, 0.25)) / STRETCH
    if share < limits["wait_info"] or wait_s < limits["least_wait_s"]:
        return None
    asynchronous = _is_asynchronous(Rows(rows.arrow.filter(~is_step)))
    limit = limits["wait_limit_async" if asynchronous else "wait_limit"]
    return Candidate(
        strength=measured(Size.CLEAR if share >= limit else Size.SLIGHT),
        message=f"each step spends {share:.0%} of its time ({1000 * wait_s:.3g} ms) waiting for "
        f"data (limit {limit:.0%}); without the wait, steps would be "
        f"{1 / max(1 - share, 0.01):.1f} times as fast",
        advice="Give the DataLoader worker processes (num_workers, prefetch_factor, pin_memory, "
        "persistent_workers), make the transforms cheaper, or store the data already "
        "decoded.",
        first_step=int(step[0]),
        last_step=int(step[-1]),
        value=share,
        threshold=limit,
        unit="share",
        evidence={
            "wait_s": wait_s,
            "speed_up": 1 / max(1 - share, 0.01),
            "n_steps": int(step.size),
            "query": example(
                "steps", "step, data_s / nullif(step_s, 0) as wait_share, data_s, step_s, epoch"
            ),
        },
    )


def _stretches(values: FloatArray) -> FloatArray:
    """Sums over 50 successive steps; those left over at the end belong to none."""
    n = values.size // STRETCH
    return np.asarray(values[: n * STRETCH].reshape(n, STRETCH).sum(axis=1), dtype=np.float64)


def _is_asynchronous(attached: Rows) -> bool:
    """Parameters lie on an accelerator."""
    devices = [json_list(parsed_object(text).get("devices")) for text in attached.texts("name")]
    return any(not str(device).startswith(CPU) for some in devices for device in some)


DETECTOR = Detector(
    id=ID,
    title="training waits for its data",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "wait_limit": WAIT_LIMIT,
        "wait_limit_async": WAIT_LIMIT_ASYNC,
        "wait_info": WAIT_INFO,
        "least_wait_s": LEAST_WAIT_S,
    },
    advice="Give the DataLoader worker processes, prefetch, or make the transforms cheaper.",
    source="Amazon SageMaker Debugger, profiler rules",
    judge=judge,
    explains_symptoms=False,
    shares=(
        "wait_limit",
        "wait_limit_async",
        "wait_info",
    ),
    shown=Shown(
        unit="share",
        normal="The next batch is ready when the previous step ends: the wait is a few percent.",
    ),
)
