"""The data are read class by class.

Symptom: the labels of one batch are far more alike than those of the run: most batches have a
single class, although the run sees several.
Fix: shuffle the training set, `DataLoader(..., shuffle=True)`.
Not flagged: batches of one sample; a run that sees one class only; losses over many places of a
sample (text, segmentation), whose labels belong together; samplers that mix two classes or more in
each batch; a few batches, which chance may have sorted; the tags `gan` and `rl`: a discriminator
may read real and invented samples in turns.
Source: documentation of torch.utils.data.DataLoader; Bengio, arXiv:1206.5533.

The number: of all pairs of samples in a batch, how much more often both are of one class than two
of the whole run are: 0 for batches drawn at random, 1 where each has one class. What chance would
make of it has a mean and a variance in closed form.

Of losses written by hand no classes are counted. There a batch is known to be of one class where
all of its targets are equal, and the first example of each batch tells the shares of the classes.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact, statistical
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "sorted_labels"
ALIKE_SHARE = 0.5  # two classes in equal parts of a hundred: just below; shuffled: 0.0
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
    'batch', g.step, NULL, NULL, CAST(NULL AS BLOB),
    g.first_label, CAST(g.target_spread = 0 AS INTEGER), g.n
FROM loss_graphs AS g
WHERE g.run = $run
    AND g.pair = 0 AND g.call = 0 AND g.n_outputs = 1 AND NOT g.is_made
    AND (g.operation IN ('gather', 'index', 'nll_loss_forward')
        OR g.operation LIKE 'binary%'
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
        found = _of_targets(rows.part("what", "batch"), context, limit=limits["alike_share"])
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
        return None
    return _candidate(batches, share, limit=limits["alike_share"])


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


def _of_targets(rows: Rows, context: RunContext, *, limit: float) -> Candidate | None:
    """Batches whose targets are all equal, though not those of all batches."""
    steps, n = rows.ints("step"), rows.floats("n")
    kept = (n > 1) & ~(n > _samples(steps, context))
    if kept.sum() < MIN_BATCHES:
        return None
    labels = rows.floats("first_label")[kept]
    counts = np.unique(labels, return_counts=True)[1]
    pure = float((rows.ints("is_pure")[kept] > 0).mean())
    if counts.size < 2 or pure < limit:  # noqa: PLR2004 - one class is another finding
        return None
    by_chance = _pure_by_chance(counts, n[kept])
    if by_chance >= pure or labels.size * _divergence(pure, by_chance) < SIGNAL**2 / 2:
        return None
    n_pure = round(pure * labels.size)
    return Candidate(
        strength=exact(Size.FAR) if n_pure == labels.size else statistical(Size.FAR),
        message=f"{n_pure} of {labels.size} batches have equal targets only, and the run sees "
        f"{counts.size} classes: the data are read class by class",
        advice=SHUFFLE,
        first_step=int(steps[kept][0]),
        last_step=int(steps[kept][-1]),
        value=pure,
        threshold=limit,
        unit="share",
        evidence={
            "n_batches": int(labels.size),
            "n_batches_of_one_class": n_pure,
            "by_chance": by_chance,
            "query": example("loss_graphs", "step, n, first_label, target_spread"),
        },
    )


def _pure_by_chance(counts: IntArray, sizes: FloatArray) -> float:
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
    parameters={"alike_share": ALIKE_SHARE},
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
        normal="The labels of a batch are as mixed as those of the whole run.",
    ),
)
