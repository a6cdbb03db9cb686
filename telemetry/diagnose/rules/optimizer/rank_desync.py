"""Data-parallel replicas hold different weights, or are trained on the same batches.

Symptom: the hash of the parameters differs between ranks at the same steps, in the last two
comparisons at least, or in the last one of all parameters after all others agreed; or ranks read
the same batch in most steps. All trainable parameters are compared at step 0, the powers of two and
each hundredth, and some at steps that several ranks sampled.
Fix: let DistributedDataParallel wrap the model before the first step and reduce all gradients;
give the loader a DistributedSampler and call its set_epoch.
Not flagged: sharded parameters (FSDP, ZeRO, tensor parallelism), which differ by design, beside
which those that ranks hold whole are compared; buffers; ranks that are given the same input in
every step. Information: weights that agree again and again after they differed (local SGD), and
ranks that never agreed in weights nor in gradients: they train models of their own.
Source: Jiang et al., TrainCheck, arXiv:2506.14813.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_left_behind
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.store.sessions.rows import Rows

ID = "rank_desync"
MIN_COMPARISONS = 2
MIN_AGREED = 5  # before one difference of all weights counts: local steps would have shown by then
MIN_BATCHES = 10
SAME_BATCHES = 0.5  # of the steps
OWN_BATCHES = 0.5  # least share of different batches of one rank: else all get one input
SAME_GRADIENT = 0.01  # relative: reduced gradients agree to rounding, others by their noise

SQL = """
SELECT
    'step' AS what,
    s.step,
    s.rank,
    s.param_checksum AS checksum,
    s.replica_hash,
    s.batch_hash,
    s.grad_norm_total AS grad_norm
FROM steps AS s
WHERE s.run = $run
    AND (s.param_checksum IS NOT NULL OR s.replica_hash IS NOT NULL OR s.batch_hash IS NOT NULL)
UNION ALL
SELECT
    'sharded' AS what,
    0 AS step,
    0 AS rank,
    NULL AS checksum,
    NULL AS replica_hash,
    NULL AS batch_hash,
    NULL AS grad_norm
FROM tensors AS t
WHERE t.run = $run
    AND t.sharding = 'sharded'
GROUP BY t.sharding
ORDER BY what, step, rank
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """Steps that several ranks recorded: whether the same, and whether of all weights."""

    steps: IntArray
    same: BoolArray
    whole: BoolArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Weights first; batches where weights agree."""
    _codes, names = rows.codes("what")
    rows, is_sharded = rows.part("what", "step"), "sharded" in names
    if is_sharded and rows.arrow.column("replica_hash").null_count == len(rows):
        return NotChecked(
            detector=ID, reason="the parameters are sharded: ranks differ by design", absent=True
        )
    n_ranks = np.unique(rows.ints("rank")).size
    if n_ranks < 2:  # noqa: PLR2004 - one has nobody to differ from
        return NotChecked(
            detector=ID,
            reason=(
                "only one rank was recorded, so there is nothing to compare; record on every rank"
            ),
            absent=True,
        )
    # A checksum of sharded parameters is of what a rank holds.
    hashes = [_common(rows, name) for name in ("replica_hash", "checksum")[: 2 - is_sharded]]
    weights, batches = _joined(*hashes), _common(rows, "batch_hash")
    found = _weights(weights, rows, n_ranks) or _batches(batches, rows, limits)
    reason = _lacks(weights, last_step=context.last_step) if found is None else None
    return found if reason is None else NotChecked(detector=ID, reason=reason)


def _joined(*compared: _Common) -> _Common:
    """Of each step whether all of its comparisons agree."""
    steps = np.concatenate([each.steps for each in compared])
    same = np.concatenate([each.same for each in compared])
    distinct, place = np.unique(steps, return_inverse=True)
    agrees, whole = np.ones(distinct.size, dtype=np.bool_), np.zeros(distinct.size, dtype=np.bool_)
    np.logical_and.at(agrees, place, same)
    np.logical_or.at(whole, place, np.concatenate([each.whole for each in compared]))
    return _Common(steps=distinct, same=agrees, whole=whole)


def _n_needed(weights: _Common) -> int:
    """Comparisons in a row, up to the last, that must differ."""
    is_first = bool(weights.whole[-1:].any() and weights.same[:-1].all())
    return 1 if is_first and weights.steps.size > MIN_AGREED else MIN_COMPARISONS


def _lacks(weights: _Common, *, last_step: int) -> str | None:
    """What would have to be known for the rule to pass."""
    steps, n = weights.steps, weights.steps.size
    if n < MIN_COMPARISONS:
        return (
            f"the weights of several ranks are known at {n} common "
            f"{'step' if n == 1 else 'steps'}, {MIN_COMPARISONS} are needed; train longer, and "
            "record on every rank"
        )
    if not weights.same[-1]:
        return (
            f"the weights of the ranks differ at step {steps[-1]}, the last at which they were "
            f"compared; {MIN_COMPARISONS} such steps in a row are needed"
        )
    if is_left_behind(int(steps[-1]), last_step):
        return (
            f"the weights of the ranks were compared until step {steps[-1]}, the run went on to "
            f"step {last_step}"
        )
    return None


def _common(rows: Rows, name: str) -> _Common:
    """Exact comparison: checksums have 64 bits, more than a float holds."""
    column = rows.arrow.column(name)
    kept = np.flatnonzero(np.asarray(column.is_valid()))
    values = Rows(rows.arrow.take(kept))
    step, value = values.ints("step"), values.ints(name)
    steps, starts, counts = np.unique(step, return_index=True, return_counts=True)
    shared = counts > 1
    lowest = np.minimum.reduceat(value, starts) if step.size else value
    highest = np.maximum.reduceat(value, starts) if step.size else value
    same = (lowest == highest)[shared]
    return _Common(steps=steps[shared], same=same, whole=np.full(same.size, name == "replica_hash"))


def _weights(weights: _Common, rows: Rows, n_ranks: int) -> Candidate | None:
    differ = ~weights.same
    if weights.steps.size < MIN_COMPARISONS or not differ[-_n_needed(weights) :].all():
        return None
    agreed = np.flatnonzero(weights.same)
    first = int(agreed[-1]) + 1 if agreed.size else 0
    averaged = bool(differ[:first].any())
    strangers = not agreed.size and not _gradients_agree(rows)
    how = (
        "; they agreed several times before: are they averaged from time to time?"
        if averaged
        else "; their gradients differ too, so every rank trains its own model"
        if strangers
        else ""
        if agreed.size
        else " from the first sample on"
    )
    return Candidate(
        strength=exact(Size.TOTAL, meant=averaged or strangers),
        message=f"the weights of {n_ranks} ranks differ in the last {differ.size - first} of "
        f"{differ.size} compared steps{how}",
        advice="Wrap the model in DistributedDataParallel before the first step; look for "
        "parameters that change, or gradients that are not reduced, on one rank only "
        "(no_sync, find_unused_parameters, a rank that draws its own initial weights).",
        first_step=int(weights.steps[first]),
        last_step=int(weights.steps[-1]),
        value=float(differ.mean()),
        threshold=0.0,
        unit="share",
        evidence={
            "n_ranks": n_ranks,
            "n_comparisons": int(weights.steps.size),
            "query": (
                "select step, greatest(count(distinct replica_hash), "
                "count(distinct param_checksum)) as n_different, count(*) as n_ranks from steps "
                "where replica_hash is not null or param_checksum is not null "
                "group by step order by step"
            ),
        },
    )


def _gradients_agree(rows: Rows) -> bool:
    """The global gradient norms of the ranks are the same but for rounding."""
    norms: FloatArray = rows.floats("grad_norm")
    kept = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    steps, starts, counts = np.unique(
        rows.ints("step")[kept], return_index=True, return_counts=True
    )
    if not steps.size:
        return False
    spread = np.maximum.reduceat(norms[kept], starts) / np.minimum.reduceat(norms[kept], starts)
    shared = spread[counts > 1]
    return bool(shared.size and np.median(shared) <= 1 + SAME_GRADIENT)


def _batches(batches: _Common, rows: Rows, limits: Limits) -> Candidate | None:
    """The same batch on every rank, and not the same in every step."""
    if batches.steps.size < MIN_BATCHES or not batches.same.mean() > limits["same_batches"]:
        return None
    column = rows.arrow.column("batch_hash")
    hashes = column.drop_null().to_numpy()
    if np.unique(hashes).size < OWN_BATCHES * batches.steps.size:
        return None
    where = batches.steps[batches.same]
    share = float(batches.same.mean())
    return Candidate(
        strength=exact(),
        message=f"all ranks train on the same batch in {share:.0%} of {batches.steps.size} "
        f"steps (limit {limits['same_batches']:.0%}): the data are not divided among "
        "them",
        advice="Give the loader a DistributedSampler and call its set_epoch(), or seed each "
        "rank's data differently.",
        first_step=int(where[0]),
        last_step=int(where[-1]),
        value=share,
        threshold=limits["same_batches"],
        unit="share",
        evidence={
            "n_steps": int(batches.steps.size),
            "query": (
                "select step, count(*) - count(distinct batch_hash) as n_same, count(*) as n_ranks "
                "from steps where batch_hash is not null group by step order by step"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="data-parallel replicas hold different weights or read the same batches",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"same_batches": SAME_BATCHES},
    advice="Reduce all gradients on every rank, and divide the data with a DistributedSampler.",
    source="arXiv:2506.14813",
    judge=judge,
    shares=("same_batches",),
    shown=Shown(
        normal="After every step all ranks hold the same weights, and each rank reads its own "
        "batches.",
    ),
)
