"""What is known of each optimizer step of a run."""

from dataclasses import dataclass

from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.format.step_flags import StepFlag
from telemetry.store.sessions.rows import Rows

STEPS_SQL = """
SELECT
    s.step,
    AVG(s.loss) AS loss,
    MAX(CASE WHEN s.loss IS NULL THEN 0 ELSE 1 END) AS has_loss,
    MAX(s.lr) AS lr,
    MAX(s.flags) AS flags,
    SUM(s.samples) AS samples,
    MAX(s.grad_norm_total) AS grad_norm_total,
    MAX(s.backward_calls) AS backward_calls
FROM steps AS s
WHERE s.run = $run
GROUP BY s.step
ORDER BY s.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeries:
    """One entry per optimizer step, ascending; NaN where nothing was recorded."""

    step: IntArray
    loss: FloatArray
    has_loss: BoolArray
    lr: FloatArray
    flags: IntArray
    samples: FloatArray
    grad_norm_total: FloatArray

    @property
    def has_flag_sampled(self) -> BoolArray:
        """Whether the step was sampled in full."""
        return (self.flags & StepFlag.SAMPLED) > 0

    @property
    def skipped(self) -> BoolArray:
        """Whether a GradScaler refused the step."""
        return (self.flags & StepFlag.SKIPPED) > 0


def step_series(rows: Rows) -> StepSeries:
    """The series of a run from the rows of `STEPS_SQL`."""
    return StepSeries(
        step=rows.ints("step"),
        loss=rows.floats("loss"),
        has_loss=rows.ints("has_loss") > 0,
        lr=rows.floats("lr"),
        flags=rows.ints("flags"),
        samples=rows.floats("samples"),
        grad_norm_total=rows.floats("grad_norm_total"),
    )
