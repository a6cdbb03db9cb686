"""Validation is not independent of training, or a feature holds the answer.

Symptom: (1) samples of the evaluation, or all of them, are trained on; (2) a tenth of them or more
are trained ones with a little noise: data that were augmented before they were split; (3) a single
input feature of a table is the target, up to scale, in every batch.
Fix: split once, by group where samples belong together, and drop what stands in both parts; remove
the feature, which will not be there when the model is used.
Not flagged: evaluations of the training data beside those of a validation set, whose forwards hold
training samples alone; training samples that make up half of the training data or more, for then
all data may have been given to the model at once; tables whose rows are equal by chance; samples
that were turned, cut or padded otherwise, and those of few distinct values, which are not compared;
samples with neighbours at all distances; evaluations that see other samples each time (folds,
random batches). Descriptions only: training samples that come in forwards of their own, without a
metric named train; training in one batch that is evaluated too (whole graphs); a feature that is
the target of a regression, for time series and demonstrations are so.
Source: Barz and Denzler, arXiv:1902.00423; Lee et al., arXiv:2107.06499.

Samples are compared by hashes (`sketches`); what was trained on when the evaluation took place
counts. Both need that most training samples have been seen twice, or their set is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.near_samples import near_copies
from telemetry.diagnose.evidence.sample_sets import (
    Overlap,
    SampleSet,
    chance,
    overlap,
    sample_sets,
    similarity,
    united,
)
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, Strength, exact, measured
from telemetry.diagnose.tags import UNJUDGED, Tag
from telemetry.diagnose.wording import example
from telemetry.format.loss_operations import BINARY, INDEXED
from telemetry.store.sessions.rows import Rows

ID = "leakage"
SHARED_SHARE = 0.01  # of the evaluation
SHARED_ERROR_SHARE = 0.2
MIN_SHARED = 5  # samples
CHANCE_FACTOR = 5.0
CHANCE_LIMIT = 0.2  # more is shared by chance: equal samples say nothing
NEAR_SHARE = 0.1  # with near copies: independent samples of eleven kinds at most .02 (measured)
COVERAGE = 0.8  # of the training data that must be known
SAME_SET = 0.5  # similarity of two evaluations of one set
TRAIN_SHARE = 0.5  # shared samples are at most this part of the training data
WHOLE = 0.005  # of the evaluation may be unknown beside what is unknown of the training data
ONE_BATCH_SHARE = 0.5  # a forward holds this part of the training data: trained in one batch or two
MIN_DISTINCT_VALUES = 8.0
MIN_COMPARED = 20  # samples of an evaluation
CORRELATION = 0.999
MIN_BATCHES = 4
MIN_ROWS = 32  # of these together: a column of two values is another of two by chance
CLASS_LOSSES = ("cross_entropy", "nll_loss")

SQL = """
SELECT
    'set' AS what, s.rank, s.attempt, s.step, s.phase, s.n_seen, s.n_pairs,
    s.n_equal_pairs, s.distinct_values, s.hashes, s.times, s.forwards, s.codes
FROM sketches AS s
WHERE s.run = $run
UNION ALL
SELECT
    'feature' AS what, 0 AS rank, 0 AS attempt, r.step, MAX(r.loss_op) AS phase, 0 AS n_seen,
    0 AS n_pairs, 0 AS n_equal_pairs,
    MAX(CASE WHEN r.site = 'input' THEN r.target_corr END) AS distinct_values,
    CAST(NULL AS BLOB), CAST(NULL AS BLOB), CAST(NULL AS BLOB), CAST(NULL AS BLOB)
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND r.phase = 'train' AND m.path = ''
    AND r.site IN ('input', 'logits', 'target')
GROUP BY r.step
UNION ALL
SELECT
    'column' AS what, 0 AS rank, 0 AS attempt, g.step, g.operation AS phase, g.n AS n_seen,
    g.n_distinct AS n_pairs, CAST(g.whole_targets AS INTEGER) AS n_equal_pairs,
    g.input_column AS distinct_values, CAST(NULL AS BLOB), CAST(NULL AS BLOB), CAST(NULL AS BLOB),
    CAST(NULL AS BLOB)
FROM loss_graphs AS g
WHERE g.run = $run AND g.input_column IS NOT NULL
ORDER BY what, rank, attempt, step, phase
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """An evaluation, what had been trained on by then, and how they lie to each other."""

    evaluated: SampleSet
    trained: SampleSet
    overlap: Overlap


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Samples that are shared, and a feature that is the target: the worse of the two."""
    samples = _samples(rows.part("what", "set"), limits)
    near = _near(rows.part("what", "set"), limits)
    feature = _column(rows.part("what", "column")) or _feature(rows.part("what", "feature"), limits)
    found = [each for each in (samples, near, feature) if isinstance(each, Candidate)]
    if not found:
        return samples
    # What an agent has met is evaluated and trained on, and so are the latents of a generator.
    meant = bool(context.tags & UNJUDGED)
    return [replace(each, strength=replace(each.strength, meant=meant)) for each in found]


def _samples(rows: Rows, limits: Limits) -> Verdict:
    compared = _compared(rows)
    if not compared:
        return _not_checked(
            "no training and validation samples could be compared; evaluate without gradient, "
            "log the result as val_..., and call the model with the same tensors as in training"
        )
    sets = [each.evaluated for each in compared]
    if len(sets) < 2 or min(similarity(one, sets[-1]) for one in sets) < SAME_SET:  # noqa: PLR2004 - to tell whether they are one set
        return _not_checked(
            "fewer than two evaluations were hashed, or each saw different samples; evaluate "
            "the same set more often"
        )
    known = [each for each in compared if each.trained.coverage >= COVERAGE]
    if not known:
        return _not_checked(
            "too little of the training data is known: most samples were seen only once (fewer "
            "than two epochs, or the data are augmented)"
        )
    last = known[-1]
    by_chance = chance(last.trained, last.evaluated)
    # Either may be the few-valued one where only one was looked at.
    values = np.fmin(last.trained.distinct_values, last.evaluated.distinct_values)
    if values < MIN_DISTINCT_VALUES or by_chance > CHANCE_LIMIT:
        return _not_checked("samples may be equal by chance (few distinct values, or many repeats)")
    return _held_against(known, by_chance, limits)


def _near(rows: Rows, limits: Limits) -> Candidate | None:
    """Validation samples that are trained ones but for a little noise."""
    lies = near_copies(rows)
    if lies is None or lies.n < MIN_COMPARED or lies.n_near < limits["near_share"] * lies.n:
        return None
    share = lies.n_near / lies.n
    return Candidate(
        strength=measured(),
        message=f"{share:.0%} of {lies.n} validation samples have a near copy among the training "
        "samples, and nothing else close to them: the data were split after they were augmented "
        "or copied",
        advice="Split by originals, and augment the training part alone.",
        first_step=lies.first_step,
        last_step=lies.last_step,
        value=share,
        threshold=limits["near_share"],
        unit="share",
        evidence={
            "n_compared": lies.n,
            "n_trained": lies.n_trained,
            "query": example("sketches", "step, phase, n_seen, codes"),
        },
    )


def _not_checked(reason: str) -> NotChecked:
    return NotChecked(detector=ID, reason=reason)


def _compared(rows: Rows) -> list[_Compared]:
    """Every evaluation with the training samples known when it took place, oldest first."""
    keys = list(zip(rows.ints("rank").tolist(), rows.ints("attempt").tolist(), strict=True))
    sets = list(zip(keys, sample_sets(rows), strict=True))
    found = []
    for _, evaluated in sorted(sets, key=lambda pair: pair[1].step):
        if evaluated.phase == "train":
            continue
        newest = {
            key: trained
            for key, trained in sets
            if trained.phase == "train" and trained.step <= evaluated.step
        }
        if newest:
            trained = united(list(newest.values()))
            lies = overlap(evaluated, trained)
            found.append(_Compared(evaluated=evaluated, trained=trained, overlap=lies))
    return [each for each in found if each.overlap.n_compared >= MIN_COMPARED]


def _held_against(known: Sequence[_Compared], by_chance: float, limits: Limits) -> Candidate | None:
    last = known[-1]
    least = max(limits["shared_share"], CHANCE_FACTOR * by_chance)
    if any(each.overlap.n for each in known):
        counts = [(each.overlap.n_shared, each.overlap.n) for each in known]
    elif any(each.overlap.n_unlike or each.evaluated.phase == "both" for each in known):
        return None  # too few others to judge, or metrics of training alone
    else:
        counts = [(each.overlap.n_like_shared, each.overlap.n_like) for each in known]
        unknown = 1 - last.trained.coverage
        if counts[-1][0] >= (1 - 2 * unknown - WHOLE) * counts[-1][1]:
            return _all_are_shared(known, limits["shared_error_share"])
    for each, (n_shared, n) in zip(known, counts, strict=True):
        if n_shared < least * max(n, 1) or n_shared > TRAIN_SHARE * each.overlap.n_trained:
            return _part_of_training(known, limits["shared_share"])
    n_shared, n = counts[-1]
    if n_shared < MIN_SHARED:
        return _part_of_training(known, limits["shared_share"])
    share, scale = n_shared / n, last.overlap.scale
    is_error = share >= limits["shared_error_share"]
    return _finding(
        known,
        strength=exact(Size.TOTAL if is_error else Size.CLEAR),
        message=f"{share:.0%} of the validation samples (about {n_shared * scale:.0f} of "
        f"{n * scale:.0f}) are also trained on",
        advice="Remove them from one of the two sets: split before samples are copied or "
        "oversampled, and split by group where several belong together. Until then, do "
        "not trust this run's validation metrics.",
        value=share,
        threshold=least,
    )


def _part_of_training(known: Sequence[_Compared], limit: float) -> Candidate | None:
    """Forwards of training samples alone, of a part of them: another set, or two that overlap."""
    lies = known[-1].overlap
    n_shared = lies.n_like_shared
    is_whole = n_shared > TRAIN_SHARE * lies.n_trained
    is_said = any(each.evaluated.phase == "both" for each in known)
    if n_shared < MIN_SHARED or not lies.n or is_whole or is_said:
        return None
    share = n_shared / lies.n_compared
    return _finding(
        known,
        strength=measured(Size.SLIGHT),
        message=f"{share:.0%} of the samples evaluated as validation (about "
        f"{n_shared * lies.scale:.0f}) are also trained on; they are evaluated in "
        "separate forward passes",
        advice="If you evaluate training samples on purpose, this is fine: log their metrics as "
        "train_... in the same call. If not, the two parts of the split overlap.",
        value=share,
        threshold=limit,
    )


def _all_are_shared(known: Sequence[_Compared], limit: float) -> Candidate:
    trained = known[-1].trained
    in_one_batch = trained.forward_size >= ONE_BATCH_SHARE * trained.n_distinct
    return _finding(
        known,
        strength=measured(Size.SLIGHT) if in_one_batch else exact(Size.TOTAL),
        message="the model is validated only with samples that it is trained on",
        advice="Give the evaluation the loader of the validation set, and check that the data "
        "were split. Log metrics of the training set as train_....",
        value=1.0,
        threshold=limit,
    )


def _finding(
    known: Sequence[_Compared],
    *,
    strength: Strength,
    message: str,
    advice: str,
    value: float,
    threshold: float,
) -> Candidate:
    last = known[-1]
    return Candidate(
        strength=strength,
        message=message,
        advice=advice,
        first_step=known[0].overlap.step,
        last_step=last.overlap.step,
        value=value,
        threshold=threshold,
        unit="share",
        evidence={
            "n_compared": last.overlap.n_compared,
            "n_trained": round(last.trained.n_distinct),
            "training_data_known": last.trained.coverage,
            "query": example("sketches", "step, phase, n_seen, n_pairs, n_equal_pairs"),
        },
    )


def _column(rows: Rows) -> Candidate | None:
    """A column of the input that is the target, up to scale and shift, in every batch."""
    columns, steps = rows.floats("distinct_values"), rows.ints("step")
    if steps.size < MIN_BATCHES or rows.floats("n_seen").sum() < MIN_ROWS:
        return None
    column = int(columns[0])
    if column < 0 or not (columns == column).all():
        return None
    # Two distinct whole numbers are yes and no in whichever loss; others may be a quantity.
    is_yes_or_no = (rows.floats("n_pairs") <= 2) & (rows.floats("n_equal_pairs") > 0)  # noqa: PLR2004
    is_class = is_yes_or_no.all() or rows.texts("phase")[0] in BINARY | INDEXED
    return Candidate(
        strength=exact(Size.FAR) if is_class else measured(Size.SLIGHT),
        message=f"column {column} of the model's input is the target, up to scale and shift, in "
        f"each of {steps.size} batches: the model is given the answer",
        advice=f"Leave out column {column} (counted from 0), unless its value is known when the "
        "model is used.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=1.0,
        threshold=None,
        unit="correlation",
        evidence={
            "n_batches": int(steps.size),
            "query": example(
                "loss_graphs", "step, operation, n, input_column", where="input_column is not null"
            ),
        },
    )


def _feature(rows: Rows, limits: Limits) -> Candidate | None:
    """A feature that is the target in every batch that was looked at."""
    values = rows.floats("distinct_values")
    known = np.flatnonzero(np.isfinite(values))
    if known.size < MIN_BATCHES or values[known].min() < limits["correlation"]:
        return None
    steps = rows.ints("step")[known]
    loss = next((name for name in rows.texts("phase") if name), "")
    is_class = loss in CLASS_LOSSES or loss.startswith("binary_cross_entropy")
    lowest = float(values[known].min())
    return Candidate(
        strength=exact() if is_class else measured(Size.SLIGHT),
        message="an input feature equals the target: their correlation is at least "
        f"{lowest:.4f} in each of {known.size} batches",
        advice="Correlate each input column with the target and leave out the one that equals "
        "it, unless its value is known when the model is used.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=lowest,
        threshold=limits["correlation"],
        unit="correlation",
        evidence={
            "n_batches": int(known.size),
            "query": example("module_rows", "step, target_corr", where="target_corr is not null"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="validation samples are trained on, or an input feature equals the target",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "shared_share": SHARED_SHARE,
        "shared_error_share": SHARED_ERROR_SHARE,
        "near_share": NEAR_SHARE,
        "correlation": CORRELATION,
    },
    shares=("correlation",),
    advice=(
        "Split before samples are copied, split by group, and look for a feature that equals "
        "the target."
    ),
    source="arXiv:1902.00423, arXiv:2107.06499",
    judge=judge,
    # A feature that is the answer in training alone raises the loss of an evaluation.
    causes=("overfitting",),
    explains_symptoms=False,
    silenced_by=(Tag.OVERFIT_ONE_BATCH,),
    shown=Shown(
        unit="correlation",
        normal="Hardly any sample is used for both training and validation, and no input "
        "feature equals the target.",
    ),
)
