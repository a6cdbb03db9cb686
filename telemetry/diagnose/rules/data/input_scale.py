"""Inputs or targets are badly scaled for this network, or inputs differently in the two phases.

Symptom: (a) the standard deviation of the inputs differs by a factor of four between training and
evaluation, at two evaluations or more; (b) the inputs' root mean square is above 16 or below 1/64,
or a quarter of the features vary 256 times less than the largest, and the loss does not fall,
starts far above that of random guessing, or has stopped to fall with a quarter of it left; (c) it
is above 1024, or the gates of a recurrent layer that reads the inputs have pre-activations of 8 and
more, whether the loss falls or not; (d) the
targets of a regression have a root mean square above 16, of which the answers of the last layer
have not reached a 16th at the end, and the loss does not fall; or not a half, and it is still twice
what answering with their mean costs.
Fix: subtract the mean and divide by the standard deviation of each feature, both measured on the
training data, and do the same before every forward; the same for the targets of a regression.
Not flagged: integers (tokens); networks that begin with a normalisation layer, or whose first layer
puts out moderate values in spite of large inputs (they divide inside); constant features; networks
that learn from inputs of (b) (information only: Adam often does); evaluations whose loss is as good
as that of training (information only). Samplers of diffusion models with exploding variance read
larger inputs than training on purpose: log what they make outside `evaluation()`.
Source: Schoop et al., UMLAUT, doi 10.1145/3411764.3445538; Nikanjam et al., arXiv:2105.08095.
"""

import functools
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.network import LAST
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import usual
from telemetry.diagnose.judgement.robust import (
    BoolArray,
    FloatArray,
    IntArray,
    log2_positive,
    median,
)
from telemetry.diagnose.judgement.severity import Size, Strength, measured, statistical
from telemetry.diagnose.step_finding import step_finding
from telemetry.diagnose.wording import example, number, times
from telemetry.store.sessions.rows import Rows

ID = "input_scale"
# Measured on digits, standard deviation 1: x 16 still learns with SGD and Adam, x 255 stalls with
# SGD, and so does 1/255; x 255 learns with Adam. The scale alone is no fault.
LARGE_RMS = 16.0
SMALL_RMS = 1 / 64
FEATURE_RATIO = 256.0  # of the largest deviation to the lower quartile; standardised data: 1 to 10
APART_BITS = 2.0  # augmentation and batches of two move a standard deviation by less than 1 bit
APART_SHARE = 0.8  # of the samples of either phase
MIN_EVALUATIONS = 2
GOOD_EVALUATION = 1.5  # times the loss of training: inputs as the network knows them
EXTREME_RMS = 1024.0  # 2 bits above images of 0 to 255, from which Adam still learns
# Standard deviation of a pre-activation at which the derivative of tanh is 0.1 on average:
# 2 / (s sqrt(2 pi)). What gates do not pass on is lost, whatever the rest learns.
SATURATING = 8.0
INNER_GAIN = (
    1 / 32
)  # first layers pass on 0.08 to 1.5 of large inputs, behind x / 255 less than 1/100
START_LOSS = 14.0  # times naive: as in poor_initialization, a warning even in a run that learns
EARLY_STEPS = 12
LAST_SAMPLES = 3
FAR_FROM_MEAN = 2.0  # times what the best constant costs: a few steps lead below that
MIN_STEPS = 100

SQL = """
SELECT
    CASE WHEN r.site = 'input' THEN r.phase ELSE r.site END AS signal,
    r.step, m.path AS layer,
    SUM(r.n) AS n, SUM(r.sum) AS sum, SUM(r.sumsq) AS sumsq, MAX(r.profile) AS profile
FROM module_rows AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run
    AND r.n > 0
    AND r.phase IN ('train', 'eval')
    AND (
        (m.path = '' AND r.site = 'input')
        OR (r.site = 'target' AND r.loss_op IN ('mse_loss', 'huber_loss', 'smooth_l1_loss'))
        OR (r.site = 'output' AND m.role IN ('linear', 'conv') AND (
            r.step < $early_steps
            OR m.depth = (SELECT MAX(o.depth) FROM modules AS o WHERE o.run = $run
                AND o.role IN ('linear', 'conv'))
        ))
    )
GROUP BY r.site, r.phase, r.step, m.path
UNION ALL
SELECT
    'reader' AS signal, p.step, t.module AS layer, p.n,
    0 AS sum, p.sumsq * t.fan_in AS sumsq, NULL AS profile  -- the root of the mean is the gain
FROM tensor_points AS p
JOIN tensors AS t ON t.run = p.run AND t.tensor_id = p.param_id
WHERE p.run = $run AND p.kind = 'weight' AND p.step < $early_steps
    AND t.name LIKE '%weight_ih%'
UNION ALL  -- of losses written by hand one target of each batch is known
SELECT 'target', g.step, '', 1, g.first_label, g.first_label * g.first_label, NULL
FROM loss_graphs AS g
WHERE g.run = $run AND g.pair = 0 AND g.operation IN ('sub', 'rsub') AND NOT g.is_made
    AND g.first_label IS NOT NULL AND REGEXP_MATCHES(g.target_shape, '^[0-9]+(x1)*$')
UNION ALL
SELECT 'val_loss' AS signal, v.step, '' AS layer, 1 AS n, v.value AS sum, 0 AS sumsq, NULL
FROM metrics AS v
WHERE v.run = $run AND v.phase = 'eval'
    AND v.name IN ('val_loss', 'eval_loss', 'valid_loss', 'validation_loss', 'test_loss')
ORDER BY signal, step, layer
"""

_finding = functools.partial(
    step_finding,
    counted="n_samples",
    query=example("activations", "step, phase, rms, mean, std", layer="", where="site = 'input'"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """What entered the model in one phase; arrays of shape (n_samples,)."""

    steps: IntArray
    rms: FloatArray
    std: FloatArray
    features: FloatArray  # usual deviation of each feature, shape (n_features,)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """A difference between the phases outweighs the scale, where it is as bad."""
    signals, names = rows.codes("signal")

    def inputs(phase: str) -> _Inputs:
        return _inputs(rows, signals == (names.index(phase) if phase in names else -1))

    train, evaluated = inputs("train"), inputs("eval")
    far = _targets_are_far(inputs("target"), rows, context, limits)
    if far is not None:
        return far
    if not train.steps.size:
        return NotChecked(
            detector=ID,
            reason="no floating-point input of the model was observed in training",
            absent=True,
        )
    size = Size.SLIGHT if _good_evaluation(rows, context) else Size.CLEAR
    differ = _phases_differ(train, evaluated, size, limits["apart_bits"])
    scale = _out_of_scale(train, rows, context, limits)
    return [finding for finding in (differ, scale) if finding is not None]


def _inputs(rows: Rows, kept: BoolArray) -> _Inputs:
    n = np.fmax(rows.floats("n")[kept], 1.0)
    mean, square = rows.floats("sum")[kept] / n, rows.floats("sumsq")[kept] / n
    places = np.flatnonzero(kept)
    blobs = rows.blobs("profile")
    profiles = [np.frombuffer(blobs[place] or b"", dtype="<f4") for place in places.tolist()]
    width = profiles[0].size if profiles else 0
    same = [profile.astype(np.float64) for profile in profiles if profile.size == width]
    return _Inputs(
        steps=rows.ints("step")[kept],
        rms=np.sqrt(square),
        std=np.sqrt(np.fmax(square - mean**2, 0.0)),
        features=np.median(np.stack(same), axis=0) if same and width else np.zeros(0),
    )


def _good_evaluation(rows: Rows, context: RunContext) -> bool:
    """The validation loss is about that of training."""
    values = rows.floats("sum")[np.array(rows.texts("signal")) == "val_loss"]
    return median(values) <= GOOD_EVALUATION * context.progress.end


def _phases_differ(train: _Inputs, evaluated: _Inputs, size: Size, bits: float) -> Candidate | None:
    trained, seen = log2_positive(train.std), log2_positive(evaluated.std)
    apart = median(seen) - median(trained)
    if evaluated.steps.size < MIN_EVALUATIONS or not abs(apart) >= bits:
        return None
    beyond = [np.abs(seen - median(trained)) >= bits, np.abs(trained - median(seen)) >= bits]
    if min(float(share.mean()) for share in beyond) < APART_SHARE:
        return None
    return _finding(
        evaluated.steps,
        strength=measured(size),
        message=f"inputs have a standard deviation of {number(median(evaluated.std))} in "
        f"evaluation and of {number(median(train.std))} in training: they differ by "
        f"{times(abs(apart))} (limit {times(bits)})",
        advice="Apply the same normalisation, with the statistics of the training data, before "
        "every forward pass in training and evaluation.",
        value=abs(apart),
        threshold=bits,
        unit="bits",
    )


def _out_of_scale(
    train: _Inputs, rows: Rows, context: RunContext, limits: Limits
) -> Candidate | None:
    if _normalises(context):
        return None
    rms = median(train.rms)
    large = rms >= limits["large_rms"] and not _divides(rms, rows, context)
    naive = context.baseline.naive
    far_off = large and naive is not None and context.first_loss >= START_LOSS * naive
    # Stopped with a quarter or more of what there was to gain left.
    stopped = large and context.finished and context.progress.flat and not context.recovered
    strength = statistical(Size.FAR if far_off or stopped else Size.CLEAR)
    if large and (rms >= EXTREME_RMS or rms * _reading_gain(rows, context) >= SATURATING):
        strength = measured()
    if large or 0 < rms <= limits["small_rms"]:
        limit = limits["large_rms" if large else "small_rms"]
        return _finding(
            train.steps,
            strength=strength,
            message=f"the inputs have a root mean square of {number(rms)} (limit {number(limit)})",
            advice="Standardise the inputs: subtract the mean and divide by the standard "
            "deviation of the training data (divide images with values from 0 to 255 by "
            "255 first).",
            value=rms,
            threshold=limit,
            unit="rms",
        )
    return _uneven(train, strength, limits)


def _targets_are_far(
    targets: _Inputs, rows: Rows, context: RunContext, limits: Limits
) -> Candidate | None:
    """Targets so large that the answers never came near their size, or not near their mean.

    Answers that explain a thousandth of the variance are larger than a 32nd.
    """
    last = context.network.chain[-1].path if context.network.chain else ""
    size = median(targets.rms)
    reached = median(_roots(rows, "output", last)[-LAST_SAMPLES:])
    constant, progress = context.baseline.constant, context.progress
    if not size >= limits["large_rms"] or not progress.measurable:
        return None
    mean_is_far = constant is not None and progress.end >= FAR_FROM_MEAN * constant
    on_the_way = context.n_steps >= MIN_STEPS and mean_is_far and reached <= size / 2
    if not on_the_way and not (progress.failing and reached <= size / limits["large_rms"]):
        return None
    return _finding(
        targets.steps,
        strength=measured(),
        message=f"the targets have a root mean square of {number(size)} (limit "
        f"{number(limits['large_rms'])}), and the outputs of the last layer have "
        f"reached {number(reached)}",
        advice="Standardise the targets: subtract their mean and divide by their standard "
        "deviation on the training data, and undo this where predictions are used; or "
        "initialise the bias of the last layer to their mean.",
        value=size,
        threshold=limits["large_rms"],
        unit="rms",
    )


def _uneven(train: _Inputs, strength: Strength, limits: Limits) -> Candidate | None:
    """Features that vary live on very different scales; that some are small is no matter."""
    varying = np.sort(train.features[train.features > 0])
    if varying.size < 2:  # noqa: PLR2004 - one feature differs from none
        return None
    lower = float(varying[(varying.size - 1) // 4])
    ratio = float(varying[-1]) / lower
    if not ratio >= limits["feature_ratio"]:
        return None
    return _finding(
        train.steps,
        strength=strength,
        message=f"feature {int(np.argmax(train.features))} of the inputs varies "
        f"{number(ratio)}× as much as the lower quartile of the features (limit "
        f"{number(limits['feature_ratio'])}×): standard deviations "
        f"{number(float(varying[-1]))} and {number(lower)}",
        advice="Standardise each feature: subtract its mean and divide by its standard deviation "
        "(take the logarithm of quantities that span decades).",
        value=ratio,
        threshold=limits["feature_ratio"],
        unit="ratio",
    )


def _normalises(context: RunContext) -> bool:
    """A normalisation layer runs before any matrix."""
    first = min((m.depth for m in context.network.matrices), default=LAST)
    return any(m.role == "norm" and m.depth < first for m in context.network.modules)


def _divides(rms: float, rows: Rows, context: RunContext) -> bool:
    """The first layer's output is small for such inputs: the model scales them itself."""
    if not context.network.chain or _reads_by_recurrence(context):
        return False
    outputs = _roots(rows, "output", context.network.chain[0].path)
    return bool(outputs.size) and float(outputs[0]) <= INNER_GAIN * rms


def _reads_by_recurrence(context: RunContext) -> bool:
    """The first matrix is a recurrent layer's, whose output is bounded whatever it reads."""
    return context.network.matrices[0].layer in context.network.recurrent


def _reading_gain(rows: Rows, context: RunContext) -> float:
    """Pre-activations of the recurrent layer that reads the inputs over these; 0 without one."""
    if not context.network.matrices or not _reads_by_recurrence(context):
        return 0.0
    return usual(_roots(rows, "reader", context.network.matrices[0].layer)[:1], 0.0)


def _roots(rows: Rows, signal: str, layer: str) -> FloatArray:
    """Root mean squares of one signal of a layer, by step."""
    kept = (np.array(rows.texts("signal")) == signal) & (np.array(rows.texts("layer")) == layer)
    roots: FloatArray = np.sqrt(rows.floats("sumsq")[kept] / rows.floats("n")[kept])
    return roots


DETECTOR = Detector(
    id=ID,
    title="inputs or targets are badly scaled, or scaled differently in training and evaluation",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "large_rms": LARGE_RMS,
        "small_rms": SMALL_RMS,
        "feature_ratio": FEATURE_RATIO,
        "apart_bits": APART_BITS,
        "early_steps": EARLY_STEPS,
    },
    advice="Standardise each feature with the statistics of the training data, in every phase.",
    source="doi 10.1145/3411764.3445538, arXiv:2105.08095",
    judge=judge,
    # A learning rate is right for one scale of the inputs only. Inputs that evaluation
    # alone scales raise its loss.
    causes=(
        "poor_initialization",
        "saturated_units",
        "exploding_gradient",
        "dead_units",
        "learning_rate_too_high",
        "learning_rate_too_low",
        "overfitting",
        "loss_not_decreasing",
    ),
    acts_by=(Mechanism.GROWTH, Mechanism.SMALL_GRADIENTS),
    shown=Shown(
        unit="rms",
        normal="Inputs have a size of about 1, and it is the same in training and evaluation.",
    ),
)
