"""The targets are not of the kind, shape or order that the loss takes.

Symptom: outputs of shape (N, 1) meet targets of shape (N), each output every target; or scores of
shape (N, C, ...) are viewed as rows of C, which takes those of a place from several, or outputs
over (T, N) meet targets over (N, T); or half of the targets or more are the padding at the end of
rows, and count. Or binary cross-entropy gets targets outside of 0 to 1, such as class numbers; or
all C outputs are compared with the class number; or a loss that picks by class number (gather, an
index) is given one-hot rows and picks classes 0 and 1 only; or 2 * y - 1, which makes -1 and 1 of
0 and 1, gets other labels; or labels of 0 and 1 stand where a sign belongs, as in
max(0, 1 - y * f); or a class of the labels is the ignore_index; or the loss is zero, to rounding,
before a step; or every example of every sampled batch has the same target, be it a class or a row
of shares.
Fix: give outputs and targets the same shape and order, by unsqueeze and permute; ignore_index or a
mask for padding; cross_entropy for class numbers; one_hot(...).float() for binary losses; argmax(1)
where a number is picked; look at how the labels are read.
Not flagged: soft and smoothed targets; several labels an example; labels that the loss makes
itself, as those of a generator or of contrastive pairs; a discriminator that sees either class in
calls of its own; regressions, of which a target may be constant; padding beside labels; all pairs
that a loss makes on purpose, by an added dimension; labels of phases, which do not change from
place to place.
Source: Humbatova et al., arXiv:1910.11015.
"""

from collections.abc import Iterator

import numpy as np

from telemetry.diagnose.analyses.pair_candidates import pair_candidate
from telemetry.diagnose.analyses.target_places import crossing, in_other_order, padded
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_pairs import (
    NOT_FOLLOWED,
    LossPair,
    Measure,
    loss_pairs,
)
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size
from telemetry.diagnose.wording import number
from telemetry.format.loss_operations import BINARY, DIFFERENCES, INDEXED, WEIGHTED
from telemetry.store.sessions.rows import Rows

ID = "target_mismatch"
# Of one class alone. So many come up once in a hundred times where a class has 98.2 % of all
# labels, as the commoner of two may have; of three classes and more a quarter of it: 93 %.
MIN_LABELS = 256
MIN_STEPS = 4
MIN_BATCHES = 8
MIN_CLASSES = 3
ROUNDED = 1e-3  # beyond 0 to 1: what computing and smoothing leave
PADDING_SHARE = 0.5  # of the targets: more of the loss is padding than is not
NOTHING = 1e-6  # of what there is to gain: rounding

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
    g.n_distinct,
    g.output_head AS last,
    g.root,
    g.constant_loss,
    g.naive_loss,
    g.misaligned,
    g.ignored_share,
    g.padding_index,
    g.padding_share,
    CAST(COALESCE(g.is_sign, FALSE) AS INTEGER) AS is_sign,
    CAST(COALESCE(g.is_broadcast, FALSE) AS INTEGER) AS is_broadcast,
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
        *crossing(pairs),
        *in_other_order(pairs),
        *padded(pairs, limits["padding_share"]),
        *_ignored(pairs),
        *_outside(pairs),
        *_numbers_for_rows(pairs),
        *_no_sign(pairs),
        *_own(pairs),
        *_one_hot(pairs),
        *_mapped(pairs),
        *_one_class(pairs, limits["min_labels"]),
    ]
    return found or None


def _ignored(pairs: list[LossPair]) -> Iterator[Candidate]:
    """One label an example, and a class of them is left out; places of sequences may be padding."""
    for pair in pairs:
        share = np.nan_to_num(pair.numbers("ignored_share"))
        rows, classes = pair.output_shape[:1], pair.output_shape[1:]
        is_of_examples = pair.target_shape == rows and len(classes) == 1
        outside = pair.numbers("target_min") < 0  # -100 and its like are no classes
        if not is_of_examples or not (share > 0).mean() > 1 / 2 or outside.any():
            continue
        usual = float(share.mean())
        yield pair_candidate(
            pair,
            Size.CLEAR,
            message=f"{usual:.0%} of the labels are the ignore_index of the loss: examples of that "
            "class teach nothing",
            advice="Leave ignore_index out, or give the class another number.",
            measure=Measure(usual, 0.0, "share"),
            columns="step, path as layer, ignored_share, target_min, target_max",
        )


def _numbers_for_rows(pairs: list[LossPair]) -> Iterator[Candidate]:
    """One class number an example, from which each of the outputs of all classes is subtracted."""
    for pair in pairs:
        n_classes = pair.output_shape[-1] if len(pair.output_shape) > 1 else 1
        is_row = pair.target_shape == (*pair.output_shape[:-1], 1)
        if pair.operation not in DIFFERENCES or not is_row or n_classes < MIN_CLASSES:
            continue
        low, high = pair.numbers("target_min"), pair.numbers("target_max")
        if not pair.holds("whole_targets").all() or low.min() < 0 or high.max() != n_classes - 1:
            continue
        yield pair_candidate(
            pair,
            Size.TOTAL,
            message=f"class numbers from {number(float(low.min()))} to {number(float(high.max()))} "
            f"meet {n_classes} outputs each in {pair.function}: all outputs of an example are to "
            "be its class number",
            advice="Use cross_entropy for class numbers, or pass one_hot(labels).float().",
            measure=Measure(float(high.max()), 1.0, "class"),
            columns="step, path as layer, operation, output_shape, target_shape, target_max",
        )


def _no_sign(pairs: list[LossPair]) -> Iterator[Candidate]:
    """Labels of 0 multiply their score away: such an example has no gradient."""
    for pair in pairs:
        low, high = pair.numbers("target_min"), pair.numbers("target_max")
        low, high = np.fmin(np.abs(low), np.abs(high)), np.fmax(np.abs(low), np.abs(high))
        are_binary = bool(np.isin(low, (0, 1)).all() and np.isin(high, (0, 1)).all())
        is_sign = pair.holds("is_sign").all() and pair.holds("whole_targets").all()
        # Of -1 and 1 the smallest size is 1; of 0 and 1, whatever their sign, it is 0.
        if not is_sign or not are_binary or not (low < high).any():
            continue
        yield pair_candidate(
            pair,
            Size.FAR,
            message="labels of 0 and 1 stand where a sign of -1 or 1 belongs: an example with "
            "label 0 is multiplied by 0 and has no gradient",
            advice="Pass 2 * labels - 1, or use binary_cross_entropy_with_logits for labels of 0 "
            "and 1.",
            measure=Measure(0.0, -1.0, "label"),
            columns="step, path as layer, operation, target_min, target_max",
        )


def _own(pairs: list[LossPair]) -> Iterator[Candidate]:
    """Nothing is left to learn before the first step: the target is what the model returned."""
    for pair in pairs[:1]:
        level = np.fmax(pair.numbers("constant_loss"), pair.numbers("naive_loss"))
        first, known = abs(float(pair.numbers("root")[0])), level[level > 0]
        if pair.steps[0] or pair.is_made or not known.size or not first <= NOTHING * known[0]:
            continue
        yield pair_candidate(
            pair,
            Size.FAR,
            message=f"the loss is {number(first)} before the first step, where a constant answer "
            f"scores {number(float(known[0]))}: the targets are what the model returns already",
            advice="Look at where the targets come from: a teacher that is the student itself, or "
            "labels that are computed from the output.",
            measure=Measure(first, NOTHING * float(known[0]), "loss"),
            columns="step, path as layer, root, constant_loss",
        )


def _outside(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        low, high = pair.numbers("target_min"), pair.numbers("target_max")
        outside = (low < -ROUNDED) | (high > 1 + ROUNDED)
        numbered = bool(pair.holds("whole_targets").all()) and np.nanmin(low) >= 0
        is_written = numbered and _is_binary_by_hand(pair)
        if not (pair.operation in BINARY or is_written) or outside.mean() <= 1 / 2:
            continue
        kind = "class numbers" if numbered else "values"
        yield pair_candidate(
            pair,
            Size.TOTAL,
            message=f"{'a binary cross-entropy' if is_written else pair.operation} gets {kind} "
            f"from {number(np.nanmin(low))} to {number(np.nanmax(high))} as targets; outside of "
            "0 to 1 its value has no lower end",
            advice="Use cross_entropy with one output per class for class numbers, or pass "
            "one_hot(labels).float(); scale other targets to 0..1.",
            measure=Measure(float(np.nanmax(high)), 1.0, "target"),
            columns="step, path as layer, operation, target_max, target_min",
        )


def _is_binary_by_hand(pair: LossPair) -> bool:
    """Class numbers, all of 0, 1, 2, ..., multiply the logarithms of a sigmoid; weights differ."""
    heads = set(pair.rows.texts("last"))
    is_binary = pair.head == "log_sigmoid" or (pair.head == "log" and heads == {"sigmoid"})
    highest = pair.numbers("target_max")
    are_all = pair.numbers("n_distinct") == highest + 1
    return pair.operation in WEIGHTED and is_binary and bool((are_all & (highest > 1)).any())


def _one_hot(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        if pair.operation not in INDEXED or not pair.holds("one_hot_targets").all():
            continue
        if pair.target_shape != pair.output_shape:
            continue
        n_classes = pair.target_shape[-1]
        yield pair_candidate(
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
        yield pair_candidate(
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
    """Whether every example of every batch has the same target.

    Answers to several questions at once are judged one by one: rows that are all 1, 0, 0, 0 are
    those of a model that is asked about the right thing first, and about wrong ones then.
    """
    low, high = pair.numbers("target_min"), pair.numbers("target_max")
    first = pair.numbers("first_label")
    same = low == high
    if pair.operation not in BINARY:
        same |= pair.numbers("target_spread") == 0
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
        yield pair_candidate(
            pair,
            Size.FAR,
            message=f"all {n_labels:,.0f} labels that were looked at are {number(label)}: "
            f"{pair.subject} never met another class",
            advice="Look at how labels are read and shuffled: print a few batches of them.",
            measure=Measure(label, None, "class"),
            columns="step, path as layer, operation, target_max, target_min",
        )


DETECTOR = Detector(
    id=ID,
    title="the targets are not of the kind, shape or order that the loss takes",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"min_labels": MIN_LABELS, "padding_share": PADDING_SHARE},
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
