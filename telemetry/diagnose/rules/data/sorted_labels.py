"""The data are read class by class, or some classes after the others.

Symptom: the labels of one batch are far more alike than those of the run: most batches have a
single class, although the run sees several; or batches at most eight steps apart have the same
classes a third more often than all batches have: each part of an epoch shows some classes
only.
Fix: shuffle the training set, `DataLoader(..., shuffle=True)`.
Not flagged: batches of one sample; a run that sees one class only; losses over many places of a
sample (text, segmentation), whose labels belong together; samplers that mix two classes or more in
each batch, in any order; labels that a model guesses, which change at first; a few batches, which
chance may have sorted; the tags `gan` and `rl`: a discriminator may read real and invented samples
in turns. Information, where the run learns: some classes after the others that do not come back
(tasks one after another), and a regression whose targets rise, fall or swing slowly.
Source: documentation of torch.utils.data.DataLoader; Bengio, arXiv:1206.5533.

The number: of all pairs of samples in a batch, how much more often both are of one class than two
of the whole run are: 0 for batches drawn at random, 1 where each has one class. What chance would
make of it has a mean and a variance in closed form.

Of losses written by hand no classes are counted. There a batch is known to be of one class where
all of its targets are equal, and the first example of each batch tells the shares of the classes,
and their order.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.analyses.label_order import NEAR_STEPS, Order, order_of, returns
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact, statistical
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "sorted_labels"
ALIKE_SHARE = 0.5  # two classes in equal parts of a hundred: just below; shuffled: 0.0
NEAR_TIMES = 4 / 3  # half of the classes in each half of an epoch: 2; in any order: 1
NEAR_SHARE = 0.25  # of the variance of the targets of a regression
SIGNAL = 6.0  # standard deviations of what chance makes
MIN_BATCHES = 8
SHUFFLE = "Shuffle the training set, as DataLoader(..., shuffle=True) does."

SQL = """
SELECT
    'counts' AS what, r.step, r.loss_op, r.n_profile, r.profile,
    NULL AS first_label, NULL AS is_pure, NULL AS n
FROM module_rows AS r
WHERE r.run = $run
    AND r.phase = 'train'
    AND r.site = 'target'
    AND r.loss_op IS NOT NULL
    AND r.n_profile > 1
    AND r.profile IS NOT NULL
UNION ALL
SELECT
    CASE WHEN NOT (g.operation IN ('sub', 'rsub', 'mse_loss', 'huber_loss')
            OR g.operation LIKE '%1_loss') THEN 'batch'
        WHEN REGEXP_MATCHES(g.target_shape, '^[0-9]+(x1)*$') THEN 'value' END AS what,
    g.step, NULL, NULL, CAST(NULL AS BLOB),
    g.first_label, CAST(g.target_spread = 0 AS INTEGER), g.n
FROM loss_graphs AS g
WHERE g.run = $run
    AND g.pair = 0 AND g.call = 0 AND g.n_outputs = 1 AND NOT g.is_made
    AND (g.operation IN ('gather', 'index', 'nll_loss_forward', 'sub', 'rsub', 'mse_loss',
            'huber_loss') OR g.operation LIKE 'binary%' OR g.operation LIKE '%1_loss'
        OR (g.operation = 'mul' AND g.target_min >= -1 AND g.target_max <= 1))
    AND SPLIT_PART(g.target_shape, 'x', 1) = CAST(g.n AS VARCHAR)
    AND g.target_spread IS NOT NULL AND g.first_label IS NOT NULL
ORDER BY what, step, loss_op, n_profile
LIMIT 4000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batches:
    """Labels by class of the batches of two samples or more.

    Attributes:
        steps: Shape (n_batches,).
        counts: Shape (n_batches, n_classes).
    """

    steps: IntArray
    counts: FloatArray

    @property
    def sizes(self) -> FloatArray:
        """Labels of each batch."""
        sizes: FloatArray = self.counts.sum(axis=1)
        return sizes

    @property
    def shares(self) -> FloatArray:
        """Of each class, in the run."""
        shares: FloatArray = self.counts.sum(axis=0) / self.counts.sum()
        return shares

    @property
    def is_pure(self) -> bool:
        """Each batch holds one class, and not all of them the same."""
        return bool((self.counts.max(axis=1) == self.sizes).all()) and self.shares.max() < 1

    def alike(self) -> tuple[float, float]:
        """How alike the labels of a batch are, and by how many deviations more than by chance."""
        shares, pairs = self.shares, self.sizes * (self.sizes - 1)
        second, third = float((shares**2).sum()), float((shares**3).sum())
        equal = float((self.counts * (self.counts - 1)).sum())
        apart = 2 * (self.sizes - 2) * third - (2 * self.sizes - 3) * second**2
        variance = float((2 * pairs * (second + apart)).sum())
        expected = second * float(pairs.sum())
        share = (equal / float(pairs.sum()) - second) / (1 - second)
        return share, (equal - expected) / math.sqrt(variance) if variance > 0 else math.inf


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """All sampled batches together."""
    batches = _batches(rows.part("what", "counts"), context)
    if batches is None:
        found = _of_targets(rows.part("what", "batch"), context, limits)
        found = found or _of_values(rows.part("what", "value"), limit=limits["near_share"])
        if found is not None:
            return found
    if batches is None or batches.steps.size < MIN_BATCHES:
        return NotChecked(
            detector=ID,
            reason=f"the classes of {0 if batches is None else batches.steps.size} batches are "
            f"known; at least {MIN_BATCHES} of two samples or more are needed. They are counted "
            "at the input of cross_entropy, nll_loss and binary cross-entropy with one label a "
            "sample",
        )
    if not batches.shares.max() < 1:
        return NotChecked(detector=ID, reason="all labels are of one class")
    share, signal = batches.alike()
    if share < limits["alike_share"] or signal < SIGNAL:
        return _in_parts(batches.steps, batches.counts, limits)
    return _candidate(batches, share, limit=limits["alike_share"])


def _order(steps: IntArray, counts: FloatArray) -> Order | None:
    shares = counts.sum(axis=0) / counts.sum()
    spread = 1.0 - float((shares**2).sum())
    return order_of(steps, counts / counts.sum(axis=1, keepdims=True), spread=spread)


def _in_parts(steps: IntArray, counts: FloatArray, limits: Limits) -> Candidate | None:
    """Some classes after the others."""
    shares = counts.sum(axis=0) / counts.sum()
    order, later = (
        _order(steps, counts),
        _order(steps[steps.size // 3 :], counts[steps.size // 3 :]),
    )
    if order is None or order.signal < SIGNAL or order.times < limits["near_times"]:
        return None
    # Labels that a model guesses change at first, and not by the order of the data.
    if later is None or later.times < limits["near_times"]:
        return None
    come_back = returns(counts)
    return Candidate(
        strength=statistical(Size.FAR if come_back else Size.CLEAR),
        message=f"labels of batches at most {NEAR_STEPS} steps apart are of one class "
        f"{number(order.times)} times as often as those of all batches: each part of "
        f"{'an epoch' if come_back else 'the run'} shows some of the {int((shares > 0).sum())} "
        "classes only",
        advice=SHUFFLE,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=order.times,
        threshold=limits["near_times"],
        unit="times",
        evidence={
            "n_batches": int(steps.size),
            "share": order.share,
            "deviations": order.signal,
            "query": example(
                "module_rows", "step, n, profile", where="site = 'target' and phase = 'train'"
            ),
        },
    )


def _candidate(batches: _Batches, share: float, *, limit: float) -> Candidate:
    n_pure = int((batches.counts.max(axis=1) == batches.sizes).sum())
    n, n_classes = batches.steps.size, int((batches.shares > 0).sum())
    return Candidate(
        strength=exact(Size.FAR) if batches.is_pure else statistical(Size.FAR),
        message=f"{n_pure} of {n} batches have labels of one class only, and the run sees "
        f"{n_classes}: the data are read class by class",
        advice=SHUFFLE,
        first_step=int(batches.steps[0]),
        last_step=int(batches.steps[-1]),
        value=share,
        threshold=limit,
        unit="share",
        evidence={
            "n_batches": n,
            "n_batches_of_one_class": n_pure,
            "n_classes": n_classes,
            "query": example(
                "module_rows", "step, n, profile", where="site = 'target' and phase = 'train'"
            ),
        },
    )


def _of_targets(rows: Rows, context: RunContext, limits: Limits) -> Candidate | None:
    """Batches whose targets are all equal, or whose first labels come in parts."""
    steps, n = rows.ints("step"), rows.floats("n")
    kept = (n > 1) & ~(n > _samples(steps, context))
    if kept.sum() < MIN_BATCHES:
        return None
    labels, classes = rows.floats("first_label")[kept], np.unique(rows.floats("first_label")[kept])
    firsts = (labels[:, None] == classes[None]).astype(np.float64)
    pure = float((rows.ints("is_pure")[kept] > 0).mean())
    if classes.size < 2:  # noqa: PLR2004 - one class is another finding
        return None
    if pure >= limits["alike_share"] and _is_no_chance(steps[kept], firsts, pure, n[kept]):
        return _pure(steps[kept], pure, classes.size, limits)
    return _in_parts(steps[kept], firsts, limits)


def _of_values(rows: Rows, *, limit: float) -> Candidate | None:
    """Targets of a regression that go slowly from one end of their range to the other."""
    steps, firsts = rows.ints("step"), rows.floats("first_label")
    if steps.size < MIN_BATCHES:
        return None
    order = order_of(steps, firsts[:, None], spread=float(firsts.var()))
    if order is None or order.share < limit or order.signal < SIGNAL:
        return None
    return Candidate(
        strength=statistical(Size.CLEAR),
        message=f"targets of batches at most {NEAR_STEPS} steps apart are alike: that explains "
        f"{order.share:.0%} of the variance of all targets, and none where data are shuffled",
        advice=SHUFFLE,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=order.share,
        threshold=limit,
        unit="share",
        evidence={
            "n_batches": int(steps.size),
            "deviations": order.signal,
            "query": example("loss_graphs", "step, n, first_label, target_spread"),
        },
    )


def _is_no_chance(steps: IntArray, firsts: FloatArray, pure: float, sizes: FloatArray) -> bool:
    """So many batches of one class, or these in their order, do not come about by shuffling."""
    by_chance = _pure_by_chance(firsts.sum(axis=0), sizes)
    if by_chance < pure and steps.size * _divergence(pure, by_chance) >= SIGNAL**2 / 2:
        return True
    order = _order(steps, firsts)
    return order is not None and order.signal >= SIGNAL


def _pure(steps: IntArray, pure: float, n_classes: int, limits: Limits) -> Candidate:
    n_pure = round(pure * steps.size)
    return Candidate(
        strength=exact(Size.FAR) if n_pure == steps.size else statistical(Size.FAR),
        message=f"{n_pure} of {steps.size} batches have equal targets only, and the run sees "
        f"{n_classes} classes: the data are read class by class",
        advice=SHUFFLE,
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=pure,
        threshold=limits["alike_share"],
        unit="share",
        evidence={
            "n_batches": int(steps.size),
            "n_batches_of_one_class": n_pure,
            "query": example("loss_graphs", "step, n, first_label, target_spread"),
        },
    )


def _pure_by_chance(counts: FloatArray, sizes: FloatArray) -> float:
    """Share of shuffled batches of one class; the commonest class is given what chance hid."""
    n = float(counts.sum())
    most = float(counts.max()) / n
    # The upper end of Wilson's interval at three deviations.
    middle, width = most + 4.5 / n, 3 * math.sqrt(most * (1 - most) / n + 2.25 / n**2)
    most = min((middle + width) / (1 + 9 / n), 1.0)
    return float((most**sizes + (1 - most) ** sizes).mean())


def _divergence(seen: float, expected: float) -> float:
    """Of a share from what was expected, in nats a batch; n times it is a bound of the chance."""
    terms = [(seen, expected), (1 - seen, 1 - expected)]
    return sum(a * math.log(a / b) if b > 0 else math.inf for a, b in terms if a > 0)


def _samples(steps: IntArray, context: RunContext) -> FloatArray:
    """Samples of each step; NaN where it is not known."""
    known = dict(zip(context.steps.step.tolist(), context.steps.samples.tolist(), strict=True))
    return np.array([known.get(step, math.nan) for step in steps.tolist()], dtype=np.float64)


def _batches(rows: Rows, context: RunContext) -> _Batches | None:
    """Labels of each sampled step, over its forwards and ranks; of the commonest loss."""
    by_loss: dict[tuple[str, int], dict[int, FloatArray]] = {}
    for record in rows.records():
        step, profile, n_classes = record["step"], record["profile"], record["n_profile"]
        if not (isinstance(step, int) and isinstance(n_classes, int)):
            continue
        if not isinstance(profile, bytes) or len(profile) != 4 * n_classes:
            continue
        counts = np.frombuffer(profile, dtype=np.float32).astype(np.float64)
        found = by_loss.setdefault((str(record["loss_op"]), n_classes), {})
        found[step] = found.get(step, 0.0) + counts
    if not by_loss:
        return None
    most = max(by_loss.values(), key=len)
    steps, counts = np.array(list(most)), np.stack(list(most.values()))
    sizes = counts.sum(axis=1)
    kept = (sizes > 1) & ~(sizes > _samples(steps, context))
    return _Batches(steps=steps[kept], counts=counts[kept])


DETECTOR = Detector(
    id=ID,
    title="the data are read class by class",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "alike_share": ALIKE_SHARE,
        "near_times": NEAR_TIMES,
        "near_share": NEAR_SHARE,
    },
    advice="Shuffle the training set.",
    source="documentation of torch.utils.data.DataLoader, arXiv:1206.5533",
    judge=judge,
    causes=(
        "learning_rate_too_high",
        "loss_plateau",
        "overfitting",
        "validation_mismatch",
    ),
    silenced_by=(Tag.GAN, Tag.RL, Tag.REINFORCEMENT_LEARNING),
    shown=Shown(
        normal="The labels of a batch, and of a few in a row, are as mixed as those of the run.",
    ),
)
