"""The loss reads a recurrent layer at its end, and its gradient fades before it has gone far back.

Symptom: the loss does not fall, and at 30 % of the time steps or more the gradient of the layer's
input is below 2^-10 of its largest step: what those steps say cannot be learned.
Fix: a forget-gate bias of 1 to 3 or a long-range initialisation of the gates, an orthogonal
recurrent matrix, attention or a mean over all steps before the head, shorter sequences.
Not flagged: losses read at many time steps (language models, pooling, attention over the states),
for there no step is far from the loss; sequences of fewer than 16 steps; a run that learns
(information only): what it needs is within reach. A run that does not learn although all it needs
is near its end is flagged wrongly; nothing recorded shows where the information is.
Source: Pascanu et al., arXiv:1211.5063; Tallec and Ollivier, arXiv:1804.11188.

The gradient of the input is taken step by step, because that of the output is zero but where the
loss reads it. A cell called in a loop shows the gradient of its state instead, so that losses at
many steps are recognised by a gradient that does not fade. The share of steps out of reach needs no
fit: it holds for layers that run in both directions, whose gradient is smallest in the middle, and
for any scale of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, log2_positive, median, slopes
from telemetry.diagnose.judgement.severity import statistical
from telemetry.diagnose.wording import example, times
from telemetry.store.sessions.rows import Rows, as_text

ID = "vanishing_through_time"
REACH_BITS = 10.0  # below 2^-10 of its largest step a gradient teaches nothing
# A gradient that fades by a constant factor loses its first 30 % of the steps where its horizon is
# 0.7 of the sequence. Horizons in sequence lengths, measured: networks that recall their first
# token 1.4 and more (no step is out of reach), networks at chance 0.4 and less (62 %).
UNREACHED_LIMIT = 0.3
READ_SHARE = 0.1  # of the steps: where more are read, none is far from the loss
READ_STEPS = 2  # always allowed: a layer of both directions is read at its two ends
MIN_STEPS = 16
MIN_SAMPLES = 3
FIT_STEPS = 32  # from the end back: the fading that the message tells

SQL = """
SELECT
    r.step,
    m.path AS layer,
    CASE WHEN m.type LIKE '%Cell' THEN 1 ELSE 0 END AS is_cell,
    r.site,
    MAX(r.profile) AS profile
FROM module_rows AS r
JOIN modules AS m
    ON m.project = r.project
    AND m.run = r.run
    AND m.module_id = r.module_id
WHERE r.run = $run
    AND m.role = 'recurrent'
    AND r.phase = 'train'
    AND r.site IN ('input_grad', 'output_grad')
    AND r.n_profile > 1
    AND (m.type NOT LIKE '%Cell' OR r.site = 'output_grad')
GROUP BY r.step, m.path, m.type, r.site
ORDER BY m.path, r.step, r.site
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fading:
    """One recurrent layer read at its end; arrays of shape (n_samples,).

    Attributes:
        unreached: Share of the time steps out of reach.
        bits: Fading toward the start in bits a step, over the last steps.
        n_steps: Time steps of the input.
    """

    layer: str
    steps: IntArray
    unreached: FloatArray
    bits: FloatArray
    n_steps: FloatArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The recurrent layer whose gradient fades soonest."""
    layers = _layers(rows)
    if not layers:
        return NotChecked(
            detector=ID,
            reason="no gradient of a recurrent layer of torch (nn.RNN, nn.GRU, nn.LSTM) was "
            "recorded in training; record with activations=True",
            absent=True,
        )
    if all(layer.steps.size < MIN_SAMPLES for layer in layers):
        return NotChecked(
            detector=ID,
            reason=f"the loss reads many time steps, or sequences have fewer than {MIN_STEPS} "
            "steps: no time step is far from the loss",
        )
    held = [
        (layer, found)
        for layer in layers
        if (found := _persistent(layer, context, limits)) is not None
    ]
    if not held:
        return None
    return _finding(*max(held, key=lambda pair: _usual_share(*pair)), context, limits)


def _layers(rows: Rows) -> tuple[_Fading, ...]:
    """Layers with a profile; of their samples, those that are read at the end."""
    profiles: dict[str, dict[int, dict[str, FloatArray]]] = {}
    for record in rows.records():
        step, profile = record["step"], record["profile"]
        if not isinstance(step, int) or not isinstance(profile, bytes):
            continue
        site = "state_grad" if record["is_cell"] else as_text(record["site"])
        sample = profiles.setdefault(as_text(record["layer"]), {}).setdefault(step, {})
        sample[site] = np.frombuffer(profile, dtype="<f4").astype(np.float64)
    return tuple(
        _fading(layer, [(step, found) for step, found in gradients if found is not None])
        for layer, samples in profiles.items()
        if (gradients := [(step, _far_gradient(sample)) for step, sample in samples.items()])
    )


def _far_gradient(sample: dict[str, FloatArray]) -> FloatArray | None:
    """Gradient per time step, where there are enough and the loss reads few of them."""
    gradient = sample.get("state_grad")
    if gradient is None:
        gradient, read = sample.get("input_grad"), sample.get("output_grad")
        if gradient is None or read is None:
            return None
        if not 0 < int((read > 0).sum()) <= max(READ_STEPS, READ_SHARE * read.size):
            return None
    usable = bool(np.isfinite(gradient).all() and (gradient > 0).any())
    return gradient if usable and gradient.size >= MIN_STEPS else None


def _fading(layer: str, samples: Sequence[tuple[int, FloatArray]]) -> _Fading:
    return _Fading(
        layer=layer,
        steps=np.array([step for step, _ in samples], dtype=np.int64),
        unreached=np.array([_unreached(gradient) for _, gradient in samples]),
        bits=np.array([_bits(gradient) for _, gradient in samples]),
        n_steps=np.array([float(gradient.size) for _, gradient in samples]),
    )


def _unreached(gradient: FloatArray) -> float:
    """Share of the time steps below 2^-10 of the largest one."""
    return float((gradient < gradient.max() * 2.0**-REACH_BITS).mean())


def _bits(gradient: FloatArray) -> float:
    """Bits that the gradient loses a step, going back from the end."""
    return float(slopes(log2_positive(gradient[-FIT_STEPS:])[None, :])[0])


def _persistent(layer: _Fading, context: RunContext, limits: Limits) -> Persistence | None:
    return persistence(
        layer.steps, layer.unreached >= limits["unreached_limit"], start=context.warm_in
    )


def _usual_share(layer: _Fading, held: Persistence) -> float:
    return median(layer.unreached[held.where])


def _finding(layer: _Fading, held: Persistence, context: RunContext, limits: Limits) -> Candidate:
    share, bits = _usual_share(layer, held), median(layer.bits[held.where])
    n_steps = median(layer.n_steps[held.where])
    fades = f"; it shrinks {times(bits)} per time step" if bits > 0 else ""
    return Candidate(
        strength=statistical(),
        message=f"the gradient of {layer.layer or 'the model'} does not reach {share:.0%} of "
        f"{n_steps:.0f} time steps (limit {limits['unreached_limit']:.0%}{fades}); the "
        "loss reads only the end of the sequence",
        advice="Start with a forget-gate bias of 1 to 3 (or orthogonal recurrent weights), read "
        "the mean over all time steps or use attention instead of the last step, or "
        "shorten the sequences.",
        layer=layer.layer,
        layers=(layer.layer,),
        first_step=held.first_step,
        last_step=held.last_step,
        value=share,
        threshold=limits["unreached_limit"],
        unit="share",
        evidence={
            "n_time_steps": n_steps,
            "bits_per_time_step": bits,
            "state": context.progress.state,
            "query": example("profiles", "step, layer, site, position, value", layer=layer.layer),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the gradient of a recurrent layer does not reach its early time steps",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={"unreached_limit": UNREACHED_LIMIT},
    advice="Raise the forget-gate bias, use orthogonal recurrent weights, or read all time steps.",
    source="arXiv:1211.5063, arXiv:1804.11188",
    judge=judge,
    causes=("layer_imbalance", "loss_not_decreasing"),
    shares=("unreached_limit",),
    shown=Shown(
        low_is_worse=True,
        normal="The gradient at the time steps that carry the information is at least a "
        "thousandth of the gradient where the loss is read.",
    ),
)
