"""The same few batches are trained on again and again.

Symptom: in consecutive steps the fingerprint of the batch returns after the same few steps, in at
least four of five of them, although an epoch of the loader is at least twice as long.
Fix: create the iterator of the loader once, before the loop over its batches; look for a constant
index.
Not flagged: unshuffled loaders, whose batches return after one epoch; data of a batch or two; the
tag `overfit-one-batch`; models that are given the same input whatever the batch is (the features of
a whole graph); sparse inputs, whose fingerprint may see zeros only. Without a DataLoader the length
of the data is not known: one batch in all steps is information then, for full-batch training looks
the same (grokking even with a validation loss that rises). It is a warning if the validation loss
does not follow the training loss and the batch is a power of two, as batches are and data sets are
not; and it is one where a run of changing batches turns to one of them, of the same size, and
stays, by samples that are not whole epochs apart.
Source: Humbatova et al., arXiv:1910.11015.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import evaluated
from telemetry.diagnose.judgement.gates import lasting_from
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, Strength, exact, measured
from telemetry.diagnose.tags import Tag
from telemetry.json_values import json_integer, parsed_object
from telemetry.store.sessions.rows import Rows

ID = "repeated_batch"
REPEATED_SHARE = 0.8  # of the steps; shuffled data at most 0.39 (single samples with replacement)
EPOCH_SHARE = 0.5  # the batches seen are less than this part of an epoch
STUCK_SHARE = 0.98  # of the steps from which on one batch stays
STUCK_LEAST = 10  # of them that have a fingerprint ...
STUCK_STEPS = 20  # ... over so many steps at least
MIN_CHANGES = 10  # different batches before
CHANGED_SHARE = 0.25  # of the steps before: epochs of a few batches change less
MIN_STEPS = 50  # that have a predecessor one period before
LEAST_DENSITY = 50 / 4096  # of non-zero inputs: fifty of the elements that a fingerprint reads
FINGERPRINT = 4096  # elements that a fingerprint reads
VALIDATION_RISE = 1.2  # last over best validation loss
VALIDATION_STALL = 0.98  # last over first validation loss

SQL = """
SELECT
    'batch' AS what,
    s.rank,
    s.step,
    s.batch_hash,
    CAST(s.samples AS DOUBLE) AS value,
    '' AS name
FROM steps AS s
WHERE s.run = $run AND s.batch_hash IS NOT NULL
UNION ALL
SELECT 'loader' AS what, e.rank, e.step, 0 AS batch_hash, 0.0 AS value, e.payload AS name
FROM events AS e
WHERE e.run = $run AND e.kind = 'epoch'
UNION ALL
SELECT 'evaluation' AS what, 0 AS rank, m.step, 0 AS batch_hash, MAX(m.value) AS value, m.name
FROM metrics AS m
WHERE m.run = $run AND m.phase = 'eval' AND m.value IS NOT NULL
GROUP BY m.name, m.step
UNION ALL
SELECT
    'density' AS what, 0 AS rank, r.step, 0 AS batch_hash,
    CASE
        WHEN NOT MAX(r.absmax) > 0 THEN 0.0
        WHEN MAX(r.n) > 4096 THEN MAX(r.sumsq) / MAX(r.n) / MAX(r.absmax) / MAX(r.absmax)
        ELSE 1.0
    END AS value,
    '' AS name
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND m.path = '' AND r.site = 'input' AND r.phase = 'train'
GROUP BY r.step
ORDER BY what, rank, name, step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Return:
    """Batches come back after `period` steps, in a share of `n_steps` consecutive ones."""

    period: int
    share: float
    n_steps: int
    first_step: int
    last_step: int


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The commonest distance between equal batches, held against the length of an epoch."""
    batches = rows.part("what", "batch")
    own = batches.ints("rank") == (batches.ints("rank").min() if len(batches) else 0)
    found = _returns(batches.ints("step")[own], batches.ints("batch_hash")[own])
    if found is None or found.n_steps < MIN_STEPS:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_STEPS} consecutive steps have a fingerprint of their "
            "batch; train longer, and pass the batch to the model's forward()",
        )
    lost = _validation_is_lost(rows.part("what", "evaluation"), context)
    if found.share < limits["repeated_share"]:
        stuck = _stuck_since(
            batches.ints("step")[own],
            batches.ints("batch_hash")[own],
            batches.floats("value")[own],
            epoch_share=limits["epoch_share"],
        )
        strength = exact(Size.TOTAL if lost else Size.CLEAR)
        limit = limits["repeated_share"]
        return None if stuck is None else _finding(stuck, context, strength, None, limit=limit)
    density = rows.part("what", "density").floats("value")
    if density.size and not density.max() >= LEAST_DENSITY:
        return NotChecked(
            detector=ID,
            reason=f"the inputs are so sparse that fingerprints of {FINGERPRINT} elements "
            "cannot distinguish batches",
        )
    epoch = _epoch(rows.part("what", "loader"), batches.floats("value")[own])
    return _held_against(epoch, found, context, limits, lost=lost)


def _held_against(
    epoch: float | None, found: _Return, context: RunContext, limits: Limits, *, lost: bool
) -> Verdict:
    """Whether the batches return within an epoch of so many steps."""
    if epoch is not None:
        if found.period >= limits["epoch_share"] * epoch:
            return None
        strength = exact(Size.TOTAL if lost else Size.CLEAR)
        return _finding(found, context, strength, epoch, limit=limits["repeated_share"])
    if found.period > 1:
        return NotChecked(
            detector=ID,
            reason=f"batches repeat every {found.period} steps, but it is not known whether "
            "that is an epoch; read them from a torch DataLoader",
        )
    is_chosen = _is_power_of_two(context.batch_size)
    strength = exact() if lost and is_chosen else measured(Size.SLIGHT)
    return _finding(found, context, strength, None, limit=limits["repeated_share"])


def _stuck_since(
    steps: IntArray, hashes: IntArray, samples: FloatArray, *, epoch_share: float
) -> _Return | None:
    """Batches changed at first, and from some step on they are one, no larger than the others."""
    again = np.diff(hashes) == 0
    start = lasting_from(again, share=STUCK_SHARE, least=STUCK_LEAST)
    if start is None:
        return None
    since = int(steps[start + 1])
    if int(steps[-1]) < since + STUCK_STEPS - 1:
        return None
    before, after = steps < since, steps >= since
    n_different = np.unique(hashes[before]).size
    if n_different < max(MIN_CHANGES, CHANGED_SHARE * before.sum()):
        return None
    # Samples a whole number of epochs apart see one batch of an unshuffled loader, whose epoch has
    # as many steps as there were different batches, or more.
    if int(np.gcd.reduce(np.diff(steps[start:]))) > epoch_share * n_different:
        return None
    if median(samples[after]) > median(samples[before]):
        return None
    return _Return(
        period=1,
        share=float(again[start:].mean()),
        n_steps=int(again[start:].size),
        first_step=since,
        last_step=int(steps[-1]),
    )


def _is_power_of_two(size: float) -> bool:
    return size == int(size) and int(size).bit_count() == 1


def _returns(steps: IntArray, hashes: IntArray) -> _Return | None:
    """The commonest distance from a batch to its last occurrence in an unbroken row of steps."""
    if steps.size < MIN_STEPS:
        return None
    broken = np.concatenate([[0], np.cumsum(np.diff(steps) != 1)])
    order = np.lexsort((steps, hashes, broken))
    same = (np.diff(hashes[order]) == 0) & (np.diff(broken[order]) == 0)
    later, distance = order[1:][same], np.diff(steps[order])[same]
    lengths = np.unique(broken, return_counts=True)[1]
    if not distance.size:
        n_steps = int((lengths - 1).sum())
        return _Return(period=1, share=0.0, n_steps=n_steps, first_step=0, last_step=0)
    periods, counts = np.unique(distance, return_counts=True)
    period = int(periods[np.argmax(counts)])
    judged = int(np.maximum(lengths - period, 0).sum())
    again = np.sort(steps[later[distance == period]])
    return _Return(
        period=period,
        share=again.size / max(judged, 1),
        n_steps=judged,
        first_step=int(again[0]),
        last_step=int(again[-1]),
    )


def _epoch(loaders: Rows, samples: FloatArray) -> float | None:
    """Steps of one pass over the data: of the shortest loader; None where it is not known.

    A loader counts only if the forwards take its batches: those of a whole graph get other numbers
    of samples than the loader of its nodes gives.
    """
    found = []
    taken = median(samples)
    for text in loaders.texts("name"):
        facts = parsed_object(text)
        size, batches = (
            json_integer(facts.get("batch_size"), least=1),
            json_integer(facts.get("batches")),
        )
        if size is None or batches is None:
            return None
        forwards = taken / size
        if not (forwards >= 1 and forwards == int(forwards)):
            return None
        found.append(batches / max(1.0, forwards))
    return min(found, default=None)


def _validation_is_lost(evaluations: Rows, context: RunContext) -> bool:
    """The training loss fell, and a validation loss rose from its best or never fell."""
    if not context.progress.improving:
        return False
    losses = [s for s in evaluated(evaluations) if s.is_loss and s.values.size >= 3]  # noqa: PLR2004 - a median of three
    for loss in losses:
        first, best, last = loss.values[0], loss.values.min(), median(loss.values[-3:])
        if best > 0 and (last >= VALIDATION_RISE * best or last >= VALIDATION_STALL * first):
            return True
    return False


def _finding(
    found: _Return, context: RunContext, strength: Strength, epoch: float | None, *, limit: float
) -> Candidate:
    which = (
        "training uses the same batch in"
        if found.period == 1
        else f"batches repeat every {found.period} steps in"
    )
    length = "" if epoch is None else f"; an epoch has {epoch:.0f} steps"
    return Candidate(
        strength=strength,
        message=f"{which} {found.share:.0%} of {found.n_steps} consecutive steps{length}",
        advice="Create the iterator once before the loop (for batch in loader), not in every "
        "step (next(iter(loader))), and look for a constant index; give the run the tag "
        "overfit-one-batch if this is intended.",
        first_step=found.first_step,
        last_step=found.last_step,
        value=found.share,
        threshold=limit,
        unit="share",
        evidence={
            "period": found.period,
            "epoch_steps": epoch,
            "state": context.progress.state,
            "query": (
                "select step, count(*) over (partition by batch_hash) as times_seen, batch_hash, "
                "epoch, samples from steps where batch_hash is not null order by step"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="training uses the same few batches again and again",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"repeated_share": REPEATED_SHARE, "epoch_share": EPOCH_SHARE},
    advice="Create the iterator of the loader once, before the loop over its batches.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=("loss_not_decreasing", "overfitting"),
    silenced_by=(Tag.OVERFIT_ONE_BATCH,),
    shown=Shown(
        normal="A batch repeats at most once per epoch.",
    ),
)
