"""The targets are not of the kind that the loss takes.

Symptom: binary cross-entropy gets targets outside of 0 to 1, such as class numbers; or a loss that
picks by class number (gather, an index) is given one-hot rows and picks classes 0 and 1 only; or
2 * y - 1, which makes -1 and 1 of 0 and 1, gets other labels; or every example of every sampled
batch has the same target, be it a class or a row of shares.
Fix: cross_entropy for class numbers; one_hot(...).float() for binary losses; argmax(1) where a
number is picked; look at how the labels are read.
Not flagged: soft and smoothed targets; several labels an example; labels that the loss makes
itself, as those of a generator or of contrastive pairs; a discriminator that sees either class in
calls of its own; regressions, of which a target may be constant; padding beside labels.
Source: Humbatova et al., arXiv:1910.11015.
"""

from collections.abc import Iterator

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_pairs import NOT_FOLLOWED, LossPair, Measure, loss_pairs
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example, number
from telemetry.format.loss_operations import BINARY, INDEXED, WEIGHTED
from telemetry.store.sessions.rows import Rows

ID = "target_mismatch"
# Of one class alone. So many come up once in a hundred times where a class has 98.2 % of all
# labels, as the commoner of two may have; of three classes and more a quarter of it: 93 %.
MIN_LABELS = 256
MIN_STEPS = 4
MIN_BATCHES = 8
ROUNDED = 1e-3  # beyond 0 to 1: what computing and smoothing leave

SQL = """
SELECT
    g.step,
    g.path AS layer,
    g.operation,
    g.head,
    CAST(g.is_output AS INTEGER) AS is_output,
    CAST(g.is_made AS INTEGER) AS is_made,
    g.output_shape,
    g.target_shape,
    g.target_min,
    g.target_max,
    g.target_spread,
    g.first_label,
    g.label_min,
    g.label_max,
    g.n,
    g.n_outputs,
    CAST(g.whole_targets AS INTEGER) AS whole_targets,
    CAST(g.one_hot_targets AS INTEGER) AS one_hot_targets
FROM loss_graphs AS g
WHERE g.run = $run
    AND g.operation IS NOT NULL
ORDER BY g.step, g.call, g.pair
LIMIT 4000
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Each fact that holds on every sampled step."""
    del context
    if not len(rows):
        return NotChecked(detector=ID, reason=NOT_FOLLOWED, absent=True)
    pairs = [pair for pair in loss_pairs(rows) if len(set(pair.steps.tolist())) >= MIN_STEPS]
    found = [
        *_outside(pairs),
        *_one_hot(pairs),
        *_mapped(pairs),
        *_one_class(pairs, limits["min_labels"]),
    ]
    return found or None


def _outside(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        low, high = pair.numbers("target_min"), pair.numbers("target_max")
        outside = (low < -ROUNDED) | (high > 1 + ROUNDED)
        if pair.operation not in BINARY or outside.mean() <= 1 / 2:
            continue
        numbered = bool(pair.holds("whole_targets").all()) and np.nanmin(low) >= 0
        kind = "class numbers" if numbered else "values"
        yield _candidate(
            pair,
            Size.TOTAL,
            message=f"{pair.operation} gets {kind} from {number(np.nanmin(low))} to "
            f"{number(np.nanmax(high))} as targets; outside of 0 to 1 its value has no lower end",
            advice="Use cross_entropy with one output per class for class numbers, or pass "
            "one_hot(labels).float(); scale other targets to 0..1.",
            measure=Measure(float(np.nanmax(high)), 1.0, "target"),
            columns="step, path as layer, operation, target_max, target_min",
        )


def _one_hot(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        if pair.operation not in INDEXED or not pair.holds("one_hot_targets").all():
            continue
        if pair.target_shape != pair.output_shape:
            continue
        n_classes = pair.target_shape[-1]
        yield _candidate(
            pair,
            Size.TOTAL,
            message=f"one-hot rows of {n_classes} classes are used as class numbers in "
            f"{pair.function}: only classes 0 and 1 are ever picked",
            advice="Pass labels.argmax(1) where a class number is picked, or multiply with the "
            "one-hot rows and sum.",
            measure=Measure(1.0, float(n_classes - 1), "class"),
            columns="step, path as layer, operation, target_max, n_distinct",
        )


def _mapped(pairs: list[LossPair]) -> Iterator[Candidate]:
    """Labels that 2 * y - 1 was not made for."""
    for pair in pairs:
        low, high = pair.numbers("label_min"), pair.numbers("label_max")
        is_mapped = np.isclose(pair.numbers("target_min"), 2 * low - 1) & np.isclose(
            pair.numbers("target_max"), 2 * high - 1
        )
        outside = (low < -ROUNDED) | (high > 1 + ROUNDED)
        if not (is_mapped & (low < high)).any() or (is_mapped & outside).mean() <= 1 / 2:
            continue
        least, most = float(np.nanmin(low)), float(np.nanmax(high))
        yield _candidate(
            pair,
            Size.TOTAL,
            message=f"2 * y - 1 makes targets of labels y from {number(least)} to {number(most)}: "
            f"they run from {number(2 * least - 1)} to {number(2 * most - 1)} where -1 to 1 "
            "belongs",
            advice="Pass labels of 0 and 1 (or scale the values to 0..1) before 2 * y - 1.",
            measure=Measure(most, 1.0, "label"),
            columns="step, path as layer, label_min, label_max, target_min, target_max",
        )


def _is_of_classes(pair: LossPair) -> bool:
    """Whether the targets are classes or shares of classes, unlike weights of examples."""
    if pair.operation in WEIGHTED:
        low, high = pair.numbers("target_min"), pair.numbers("target_max")
        is_share = bool(((low >= -ROUNDED) & (high <= 1 + ROUNDED)).all())
        return bool(pair.head) and pair.target_shape == pair.output_shape and is_share
    return pair.operation in BINARY | INDEXED


def _is_constant(pair: LossPair) -> bool:
    """Whether every example of every batch has the same target."""
    low, high = pair.numbers("target_min"), pair.numbers("target_max")
    first = pair.numbers("first_label")
    same = (pair.numbers("target_spread") == 0) | (low == high)
    known = first[np.isfinite(first)]
    between = np.ptp(low) == 0 and np.ptp(high) == 0 and (not known.size or np.ptp(known) == 0)
    return bool(np.isfinite(low).all() and same.all() and between)


def _one_class(pairs: list[LossPair], least: float) -> Iterator[Candidate]:
    judged = [pair for pair in pairs if _is_of_classes(pair)]
    for pair in judged:
        n_classes = pair.output_shape[-1] if len(pair.output_shape) > 1 else 1
        n_labels = float(pair.numbers("n").sum())
        enough = least / 4 if n_classes > 2 else least  # noqa: PLR2004 - more than yes and no
        if pair.is_made or not pair.is_output or n_labels < enough:
            continue
        if pair.steps.size < MIN_BATCHES or not _is_constant(pair):
            continue
        # What else the loss reads may be the other class, as of a discriminator's two calls.
        if not (pair.numbers("n_outputs") == 1).all():
            continue
        if any(other is not pair and other.path == pair.path for other in judged):
            continue
        first = pair.numbers("first_label")[0]
        label = float(first if np.isfinite(first) else pair.numbers("target_min")[0])
        yield _candidate(
            pair,
            Size.FAR,
            message=f"all {n_labels:,.0f} labels that were looked at are {number(label)}: "
            f"{pair.subject} never met another class",
            advice="Look at how labels are read and shuffled: print a few batches of them.",
            measure=Measure(label, None, "class"),
            columns="step, path as layer, operation, target_max, target_min",
        )


def _candidate(
    pair: LossPair,
    size: Size,
    *,
    message: str,
    advice: str,
    measure: Measure,
    columns: str,
) -> Candidate:
    return Candidate(
        strength=exact(size),
        message=message,
        advice=advice,
        layer=pair.layer,
        first_step=int(pair.steps[0]),
        last_step=int(pair.steps[-1]),
        value=measure.value,
        threshold=measure.limit,
        unit=measure.unit,
        earliest=0,
        evidence={
            "operation": pair.operation,
            "n_steps": len(set(pair.steps.tolist())),
            "query": example("loss_graphs", columns, where="pair is not null"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the targets are not of the kind that the loss takes",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"min_labels": MIN_LABELS},
    advice="Pass the targets that the loss is defined for.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=(
        "class_collapse",
        "constant_predictor",
        "exploding_gradient",
        "gradient_ascent",
        "learning_rate_too_high",
        "loss_not_decreasing",
        "output_logits",
        "saturated_units",
        "weight_norm_growth",
    ),
    shown=Shown(
        normal="Class numbers for losses that pick a class, values from 0 to 1 for binary ones, "
        "and more than one class among the labels.",
    ),
)
