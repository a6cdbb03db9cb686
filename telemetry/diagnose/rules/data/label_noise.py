"""Labels that the model fits only by learning them by heart: wrong ones, or very hard ones.

Symptom: at the best evaluation the model is better on validation samples than on those that it is
trained on, by more than chance; later it is the other way round, and validation has become worse.
What samples have in common is learnt first, what is wrong with some of them last.
Fix: look at the training samples whose label the model of the best step surely contradicts;
correct or drop them, stop at that step, or use a loss that forgives single labels.
Not flagged: training metrics of training mode or of augmented samples, where dropout and lag make
the difference; an easier validation set that stays as good as it was; a model that knows no more
than the commonest class; noise in the labels of the validation set too, which hides the sign.
Source: Arpit et al., arXiv:1706.05394; Northcutt et al., arXiv:1911.00068.

No test can tell a wrong label from a task that is noisy by nature; the finding says so. That the
training metric was measured in the way of the validation metric is read off the samples that the
evaluation saw (`sketches`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.sample_sets import overlap, sample_sets, united
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import measured
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "label_noise"
GAP = 0.05  # by which validation is better at its best
STANDARD_ERRORS = 3.0  # and of the fall after it
KNOWLEDGE = 0.3  # of the way from the commonest class to certainty, in both sets
MIN_EVALUATIONS = 8
MIN_TRAINED = 20  # samples of the training data in an evaluation
TRAINED_SHARE = 0.8  # of a forward of them that are known to be trained on
WORDS = frozenset({"acc", "accuracy", "top1", "correct"})
EVALUATION_WORDS = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})
TRAINING_WORDS = frozenset({"train", "training"})

SQL = """
SELECT
    'metric' AS what, 0 AS rank, m.step, m.name AS phase, MAX(m.value) AS distinct_values,
    0 AS n_seen, 0 AS n_pairs, 0 AS n_equal_pairs,
    CAST(NULL AS BLOB) AS hashes, CAST(NULL AS BLOB) AS times, CAST(NULL AS BLOB) AS forwards
FROM metrics AS m
WHERE m.run = $run AND m.value IS NOT NULL
GROUP BY m.name, m.step
UNION ALL
SELECT
    'set' AS what, s.rank, s.step, s.phase, s.distinct_values, s.n_seen, s.n_pairs,
    s.n_equal_pairs, s.hashes, s.times, s.forwards
FROM sketches AS s
WHERE s.run = $run
UNION ALL
SELECT
    'target' AS what, r.rank, r.step, r.loss_op AS phase, 0.0 AS distinct_values,
    0 AS n_seen, 0 AS n_pairs, 0 AS n_equal_pairs, r.profile AS hashes,
    CAST(NULL AS BLOB) AS times, CAST(NULL AS BLOB) AS forwards
FROM module_rows AS r
WHERE r.run = $run AND r.phase = 'train' AND r.site = 'target' AND r.profile IS NOT NULL
ORDER BY what, phase, rank, step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A share of right answers in both sets at the same steps, and the names of the metrics."""

    train_name: str
    name: str
    steps: IntArray
    train: FloatArray
    validation: FloatArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The pair of metrics with the most evaluations."""
    del context
    metrics = rows.part("what", "metric")
    pairs = _pairs(metrics)
    pair = max(pairs, key=lambda each: each.steps.size, default=None)
    if pair is None or pair.steps.size < MIN_EVALUATIONS:
        return NotChecked(
            detector=ID,
            reason="training and validation accuracy were logged together "
            f"{0 if pair is None else pair.steps.size} times; at least {MIN_EVALUATIONS} "
            "are needed. After each evaluation of both, call log(train_accuracy=..., "
            "val_accuracy=...) once",
            absent=not _has_accuracy(metrics),
        )
    n_validation = _n_validation(rows.part("what", "set"))
    if n_validation is None:
        return NotChecked(
            detector=ID,
            reason=f"needs training accuracy measured in eval mode like {pair.name}; "
            f"{pair.train_name} may be a running average. Evaluate unaugmented training "
            "samples without gradient and dropout, and log both metrics in one call",
        )
    targets = rows.part("what", "target")
    commonest = _commonest(targets) if len(targets) else 1 / 2
    return _held_against(pair, n_validation, commonest, limits)


def _pairs(rows: Rows) -> list[_Pair]:
    codes, names = rows.codes("phase")
    steps, values = rows.ints("step"), rows.floats("distinct_values")
    found = []
    for index, name in enumerate(names):
        words = _words(name)
        if WORDS.isdisjoint(words) or EVALUATION_WORDS.isdisjoint(words):
            continue
        for other, train_name in enumerate(names):
            of_training = _words(train_name)
            same = of_training - TRAINING_WORDS == words - EVALUATION_WORDS
            if not same or TRAINING_WORDS.isdisjoint(of_training):
                continue
            own, twin = codes == index, codes == other
            common = np.intersect1d(steps[own], steps[twin])
            validation = values[own][np.isin(steps[own], common)]
            train = values[twin][np.isin(steps[twin], common)]
            scale = 100.0 if max(validation.max(initial=0), train.max(initial=0)) > 1 else 1.0
            if np.isfinite(validation).all() and np.isfinite(train).all():
                found.append(
                    _Pair(
                        train_name=train_name,
                        name=name,
                        steps=common,
                        train=train / scale,
                        validation=validation / scale,
                    )
                )
    return found


def _has_accuracy(rows: Rows) -> bool:
    """Whether any metric is a share of right answers: a regression has none."""
    return any(not WORDS.isdisjoint(_words(name)) for name in rows.codes("phase")[1])


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+\d*", name.lower()))


def _n_validation(rows: Rows) -> float | None:
    """Samples that are evaluated beside those of training; None if the latter are not seen to be.

    Training samples that are augmented, or whose set is not known, have no forwards of their own.
    """
    sets = sample_sets(rows)
    trained = [each for each in sets if each.phase == "train"]
    evaluated = [each for each in sets if each.phase == "both"]
    if not trained or not evaluated:
        return None
    last = max(evaluated, key=lambda each: each.step)
    newest = max(trained, key=lambda each: each.n_seen)
    lies = overlap(last, united([newest]))
    if lies.n_like < MIN_TRAINED or lies.n_like_shared < TRAINED_SHARE * lies.n_like:
        return None
    return lies.n_unlike * lies.scale if lies.n_unlike else None


def _commonest(rows: Rows) -> float:
    """Share of the commonest class among the targets."""
    counts = [np.frombuffer(blob or b"", "<f4") for blob in rows.blobs("hashes")]
    longest = max(count.size for count in counts)
    total = np.sum([count for count in counts if count.size == longest], axis=0)
    return float(total.max() / max(total.sum(), 1.0)) if total.size else 1 / 2


def _held_against(
    pair: _Pair, n_validation: float, commonest: float, limits: Limits
) -> Candidate | None:
    validation, train = _smooth(pair.validation), _smooth(pair.train)
    best = int(np.argmax(validation))
    top, at_top = float(validation[best]), float(train[best])
    noise = limits["standard_errors"] * np.sqrt(max(top * (1 - top), 1e-4) / n_validation)
    least = max(limits["gap"], noise)
    last, last_train = median(pair.validation[-3:]), median(pair.train[-3:])
    knows = at_top >= commonest + KNOWLEDGE * (1 - commonest)
    was_better = top - at_top >= least
    is_reversed = last_train > last and top - last >= noise
    if not (knows and was_better and is_reversed):
        return None
    first = int(np.argmax(validation - train >= least))
    return Candidate(
        strength=measured(),
        message=f"labels are wrong or very hard: {pair.name} was {top:.0%} and "
        f"{pair.train_name} {at_top:.0%} at step {pair.steps[best]}; at the end they "
        f"are {last:.0%} and {last_train:.0%}",
        advice=f"List the training samples whose label the model of step {pair.steps[best]} "
        "contradicts with a probability above 0.7, and look at them; keep that "
        "checkpoint, or use label smoothing or fewer steps.",
        first_step=int(pair.steps[first]),
        last_step=int(pair.steps[-1]),
        value=top - at_top,
        threshold=least,
        unit="accuracy",
        evidence={
            "best_step": int(pair.steps[best]),
            "n_evaluations": int(pair.steps.size),
            "n_validation": round(n_validation),
            "query": example("metrics", "step, name, value"),
        },
    )


def _smooth(values: Sequence[float] | FloatArray) -> FloatArray:
    """Medians of three; the ends as they are next to them."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(values, np.float64), 3)
    middle = np.median(windows, axis=1)
    return np.concatenate([middle[:1], middle, middle[-1:]])


DETECTOR = Detector(
    id=ID,
    title="some labels are only memorised: they are wrong or very hard",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.EVALUATION,),
    sql=SQL,
    parameters={"gap": GAP, "standard_errors": STANDARD_ERRORS},
    shares=("gap",),
    advice="Look at the training samples whose label the model of the best step contradicts.",
    source="arXiv:1706.05394, arXiv:1911.00068",
    judge=judge,
    causes=("loss_not_decreasing", "overfitting"),
    silenced_by=(Tag.OVERFIT_ONE_BATCH,),
    shown=Shown(
        unit="accuracy",
        normal="The model is at least as good on its training samples as on the others, or does "
        "not get worse on the others.",
    ),
)
