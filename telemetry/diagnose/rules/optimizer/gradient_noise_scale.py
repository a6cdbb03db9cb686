"""The batch size at which the noise of the gradient equals its signal.

Symptom: a step averages over eight times more examples than the noise scale, so that nearly the
same step would follow from a part of them; or the noise scale is sixteen times the batch and the
loss has stopped to fall, for its noise holds it up.
Fix: accumulate fewer micro-batches in the first case; more, or a smaller learning rate, in the
second.
Not flagged: a batch far below the noise scale while the loss falls, which makes the most of each
example; with --detector gradient_noise_scale the noise scale of any run is shown. Never more than
information. Not checked where the squared gradient cannot be distinguished from zero (two standard
errors): then the noise scale is beyond measure.
Source: McCandlish et al., arXiv:1812.06162, appendix A.1.

With squared norms g_b of one micro-batch of b examples and g_B of the step of B, the squared true
gradient is G = (B g_B - b g_b) / (B - b), the trace of the covariance of one example's gradient
S = (g_b - g_B) / (1 / b - 1 / B), and the noise scale is mean(S) / mean(G) over many steps: a mean
of ratios would be biased. Needs a loop that adds up micro-batches of one size.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "gradient_noise_scale"
SAMPLES = 50  # the last ones: the noise scale grows as the loss falls
ERRORS = 2.0  # standard errors
WASTE = 8.0  # batch over noise scale: nine times the least examples, by their equation 2.11
NOISE = 16.0  # noise scale over batch, where the loss stands still
SAME_GRADIENT = 1e-3  # relative spread over ranks of what was reduced over them

SQL = """
SELECT
    s.step,
    MAX(s.accumulation) AS k,
    SUM(s.samples) AS samples,
    COUNT(*) AS n_ranks,
    AVG(s.micro_grad_sumsq / COALESCE(s.loss_scale * s.loss_scale, 1)) AS micro,
    MIN(s.micro_grad_sumsq / COALESCE(s.loss_scale * s.loss_scale, 1)) AS least_micro,
    MAX(s.micro_grad_sumsq / COALESCE(s.loss_scale * s.loss_scale, 1)) AS most_micro,
    MIN(s.grad_norm_total * s.grad_norm_total) AS least_total,
    MAX(s.grad_norm_total * s.grad_norm_total) AS total
FROM steps AS s
WHERE s.run = $run
    AND s.accumulation >= 2
    AND s.accumulation = s.backward_calls
    AND s.samples > 0
    AND s.micro_grad_sumsq IS NOT NULL
    AND s.grad_norm_total IS NOT NULL
    AND COALESCE(s.stale_grad_share, 0) = 0
GROUP BY s.step
ORDER BY s.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Estimates over the samples; both in the unit of the squared gradient of a step.

    Attributes:
        signal: Squared norm of the true gradient.
        noise: Trace of the covariance of the gradient of one example.
        signal_error: Standard error of `signal`.
        noise_error: Standard error of `noise`.
        batch: Examples of a step.
        micro: Micro-batches of a step.
    """

    signal: float
    noise: float
    signal_error: float
    noise_error: float
    batch: float
    micro: float

    @property
    def scale(self) -> float:
        """Examples at which noise equals signal."""
        return max(0.0, self.noise) / self.signal

    @property
    def least(self) -> float:
        """The scale is not smaller, by the standard errors."""
        low = max(0.0, self.noise - ERRORS * self.noise_error)
        return low / (self.signal + ERRORS * self.signal_error)

    @property
    def most(self) -> float:
        """The scale is not larger, by the standard errors."""
        high = max(0.0, self.noise + ERRORS * self.noise_error)
        return high / (self.signal - ERRORS * self.signal_error)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The noise scale of the last samples against the batch."""
    steps, micro, whole, small, k = _squares(rows)
    if not len(rows):
        return NotChecked(
            detector=ID,
            reason="no sampled step accumulates the gradients of several micro-batches",
            absent=True,
        )
    if steps.size < SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"{steps.size} sampled steps that accumulate gradients; at least {SAMPLES} "
            "are needed: train longer or record with a smaller `every`",
        )
    found = _estimated(micro, whole, small, k)
    if not found.signal > ERRORS * found.signal_error:
        return NotChecked(
            detector=ID,
            reason=f"the gradient cannot be separated from its noise in {steps.size} steps of "
            f"{number(found.batch)} examples: the noise scale is too large to measure",
        )
    finding = _finding(steps, found)
    wasteful = found.most * limits["waste_factor"] <= found.batch
    noisy = found.least >= limits["noise_factor"] * found.batch and context.stuck
    return finding if wasteful or noisy else Description(candidate=finding)


def _squares(rows: Rows) -> tuple[IntArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Steps, squared gradients of a micro-batch and of the step, micro-batch size, their number.

    Both squares are k^2 times those of mean gradients, times what the loss was divided by: ratios
    do not depend on it. A gradient that is the same on all ranks was reduced over them: it is that
    of the examples of all.
    """
    k, n_ranks = rows.floats("k"), rows.floats("n_ranks")
    micro, whole = rows.floats("micro") * k**2, rows.floats("total")
    spread = rows.floats("most_micro") - rows.floats("least_micro")
    reduced = spread <= SAME_GRADIENT * rows.floats("most_micro")
    small = rows.floats("samples") / k / np.where(reduced, 1.0, n_ranks)
    one_gradient = rows.floats("least_total") >= (1 - SAME_GRADIENT) * whole
    kept = np.flatnonzero(one_gradient & np.isfinite(micro) & np.isfinite(whole) & (whole > 0))
    if kept.size:  # the loop as it is now
        now = (k == k[kept[-1]]) & (small == small[kept[-1]])
        kept = kept[now[kept]]
    kept = kept[-SAMPLES:]
    batch = k * small * np.where(reduced, 1.0, n_ranks)
    return rows.ints("step")[kept], micro[kept], whole[kept], small[kept], (batch / small)[kept]


def _estimated(micro: FloatArray, whole: FloatArray, small: FloatArray, k: FloatArray) -> Noise:
    """Means over the samples of the unbiased estimates of signal and noise."""
    batch = k * small
    signal = (batch * whole - small * micro) / (batch - small)
    noise = (micro - whole) / (1 / small - 1 / batch)
    root = float(np.sqrt(signal.size))
    return Noise(
        signal=float(signal.mean()),
        noise=float(noise.mean()),
        signal_error=float(signal.std(ddof=1)) / root,
        noise_error=float(noise.std(ddof=1)) / root,
        batch=float(batch[-1]),
        micro=float(k[-1]),
    )


def _finding(steps: IntArray, found: Noise) -> Candidate:
    scale, batch = found.scale, found.batch
    if scale < batch:
        enough = max(1, math.ceil(found.micro * scale / batch))
        more = (1 + scale * found.micro / (enough * batch)) / (1 + scale / batch)
        advice = (
            f"Accumulate {enough} instead of {found.micro:.0f} micro-batches: this takes about "
            f"{more:.1f} times as many steps, each with {enough / found.micro:.0%} of the work."
        )
    else:
        advice = (
            f"Up to about {number(scale)} examples per step, a larger batch reduces the number "
            "of steps nearly in proportion; a smaller learning rate averages the noise as well."
        )
    return Candidate(
        strength=measured(Size.SLIGHT),
        message=(
            f"gradient noise equals the signal at a batch of {number(scale)} examples; a step "
            f"has {batch:.0f}"
        ),
        advice=advice,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=scale,
        threshold=batch,
        unit="examples",
        evidence={
            "least": found.least,
            "most": found.most,
            "n_samples": int(steps.size),
            "query": example(
                "steps",
                "step, micro_grad_sumsq, grad_norm_total, samples, accumulation",
                where="micro_grad_sumsq is not null",
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the batch size at which the gradient noise equals the signal",
    tier=Tier.INFO,
    severity=Severity.INFO,
    needs=(),
    sql=SQL,
    parameters={"waste_factor": WASTE, "noise_factor": NOISE},
    advice="Use it to choose the number of micro-batches.",
    source="arXiv:1812.06162",
    judge=judge,
    shown=Shown(
        normal="The batch size is about the noise scale: a larger batch would hardly improve "
        "the steps, a smaller one would make them noisier.",
    ),
)
