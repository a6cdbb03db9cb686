"""What sketches tell of the samples of training and of evaluations: how much they share.

A sketch holds the smallest hashes of a set. Up to the smaller of two largest hashes both sets are
known in full, and a uniform part of each: shares are taken there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.diagnose.judgement.robust import BoolArray, IntArray
from telemetry.format.sketch_size import SKETCH_SIZE
from telemetry.store.sessions.rows import Rows

LARGEST = 2**64 - 1
# Share of a forward that was trained on, at least: it may be an evaluation of the training data, of
# which a fifth is not known. Of 16 samples so many are missing once in 700 forwards.
LIKE_TRAINING = 0.5
REPLACED = (0.5, 1.5)  # times the number of samples: pairs of equal ones, drawn with replacement
GROUP_SAMPLES = 16  # a forward of which fewer are known is judged together with the next ones

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """A set of samples as sketched.

    Attributes:
        step: Of its row.
        phase: train, eval or both.
        hashes: Ascending, distinct.
        times: How often each came.
        forwards: In which forward each came last; empty for training.
        limit: Up to this hash the set is known in full.
        n_seen, n_pairs, n_equal_pairs: Of all samples.
        distinct_values: Usual number of distinct values of a sample; NaN if not known.
    """

    step: int
    phase: str
    hashes: Hashes
    times: IntArray
    forwards: IntArray
    limit: int
    n_seen: int
    n_pairs: int
    n_equal_pairs: int
    distinct_values: float

    @property
    def n_distinct(self) -> float:
        """Distinct samples, estimated where not all of them are known."""
        if self.limit == LARGEST or not self.limit:
            return float(self.hashes.size)
        return self.hashes.size * (LARGEST / self.limit)

    @property
    def coverage(self) -> float:
        """Share of the next samples that would not be new: those that came once are the measure.

        Source: Good, "The population frequencies of species", Biometrika 1953.
        """
        total = int(self.times.sum())
        return 1.0 - int((self.times == 1).sum()) / total if total else 0.0

    @property
    def forward_size(self) -> float:
        """Usual samples of a forward."""
        return 1.0 + 2.0 * self.n_pairs / self.n_seen if self.n_seen else 0.0


def sample_sets(rows: Rows) -> list[SampleSet]:
    """The sets of rows of `sketches`, in their order."""
    steps, seen = rows.ints("step"), rows.ints("n_seen")
    pairs, equal = rows.ints("n_pairs"), rows.ints("n_equal_pairs")
    values = rows.floats("distinct_values")
    blobs = zip(rows.blobs("hashes"), rows.blobs("times"), rows.blobs("forwards"), strict=True)
    found = []
    for index, (phase, (hashes, times, forwards)) in enumerate(
        zip(rows.texts("phase"), blobs, strict=True)
    ):
        known = np.frombuffer(hashes or b"", "<u8").astype(np.uint64)
        found.append(
            SampleSet(
                step=int(steps[index]),
                phase=phase,
                hashes=known,
                times=np.frombuffer(times or b"", "<i4").astype(np.int64),
                forwards=np.frombuffer(forwards or b"", "<i4").astype(np.int64),
                limit=LARGEST if known.size < SKETCH_SIZE else int(known[-1]),
                n_seen=int(seen[index]),
                n_pairs=int(pairs[index]),
                n_equal_pairs=int(equal[index]),
                distinct_values=float(values[index]),
            )
        )
    return found


def united(sets: Sequence[SampleSet]) -> SampleSet:
    """What several ranks or process lives trained on, as one set; at least one is needed."""
    limit = min(part.limit for part in sets)
    hashes, inverse = np.unique(np.concatenate([s.hashes for s in sets]), return_inverse=True)
    times = np.bincount(inverse, weights=np.concatenate([s.times for s in sets]))
    kept = hashes <= np.uint64(limit)
    values = [s.distinct_values for s in sets if not np.isnan(s.distinct_values)]
    return SampleSet(
        step=max(s.step for s in sets),
        phase=sets[0].phase,
        hashes=hashes[kept],
        times=times.astype(np.int64)[kept],
        forwards=np.zeros(0, np.int64),
        limit=limit,
        n_seen=sum(s.n_seen for s in sets),
        n_pairs=sum(s.n_pairs for s in sets),
        n_equal_pairs=sum(s.n_equal_pairs for s in sets),
        distinct_values=float(np.median(values)) if values else float("nan"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How the samples of an evaluation lie to those of training.

    Attributes:
        step: Of the evaluation.
        n_unlike: Samples compared in forwards that are mostly of samples that were not trained on.
        n: Of them, those that are judged.
        n_shared: Of them, trained on.
        n_like: Samples compared in the other forwards, which may be of the training data.
        n_like_shared: Of them, trained on.
        n_trained: Training samples that were compared.
        scale: Samples of the evaluation for each one compared.
    """

    step: int
    n_unlike: int
    n: int
    n_shared: int
    n_like: int
    n_like_shared: int
    n_trained: int
    scale: float

    @property
    def n_compared(self) -> int:
        """All samples compared."""
        return self.n_unlike + self.n_like


def overlap(evaluated: SampleSet, trained: SampleSet) -> Overlap:
    """Compare an evaluation with the training, forward by forward.

    Evaluating the training data too is common, and its forwards hold training samples alone: they
    are counted apart. Other forwards that hold some are of a set that shares samples; those next to
    them are left out if there are more, for data of which a part is never trained on end so.
    """
    limit = np.uint64(min(evaluated.limit, trained.limit))
    known = evaluated.hashes <= limit
    shared = np.isin(evaluated.hashes[known], trained.hashes)
    groups, is_joined = _groups(evaluated.forwards[known])
    n = np.bincount(groups, minlength=1)
    n_shared = np.bincount(groups, weights=shared, minlength=1).astype(np.int64)
    like = n_shared >= LIKE_TRAINING * np.maximum(n, 1)
    far = ~like & ~_neighbours(like)
    beside = far if is_joined or far.any() else ~like
    return Overlap(
        step=evaluated.step,
        n_unlike=int(n[~like].sum()),
        n=int(n[beside].sum()),
        n_shared=int(n_shared[beside].sum()),
        n_like=int(n[like].sum()),
        n_like_shared=int(n_shared[like].sum()),
        n_trained=int((trained.hashes <= limit).sum()),
        scale=evaluated.n_distinct / max(int(known.sum()), 1),
    )


def similarity(one: SampleSet, other: SampleSet) -> float:
    """Samples that two sets share, as a share of the smaller."""
    limit = np.uint64(min(one.limit, other.limit))
    left, right = one.hashes[one.hashes <= limit], other.hashes[other.hashes <= limit]
    return float(np.isin(left, right).sum() / max(min(left.size, right.size), 1))


def _groups(forwards: IntArray) -> tuple[IntArray, bool]:
    """A group number for each sample: its forward, or several in a row where each says little."""
    numbers, positions, counts = np.unique(forwards, return_inverse=True, return_counts=True)
    if not numbers.size:
        return np.zeros(0, np.int64), False
    if np.median(counts) >= GROUP_SAMPLES:
        return positions.astype(np.int64), False
    before = np.cumsum(counts) - counts
    return (before // GROUP_SAMPLES)[positions].astype(np.int64), True


def _neighbours(where: BoolArray) -> BoolArray:
    """Places beside those that are true: a group of several forwards may be of two sets."""
    beside = np.zeros_like(where)
    beside[1:] |= where[:-1]
    beside[:-1] |= where[1:]
    return beside


def chance(trained: SampleSet, evaluated: SampleSet) -> float:
    """Share of an evaluation that equals some training sample although both are independent.

    From how often two samples of a set are equal, one pair more than was seen: a table of few
    columns holds the same row often, continuous inputs never do. Training batches that are drawn
    with replacement hold the same sample twice, as often as one in the number of samples; then the
    evaluation alone tells.
    """
    n = trained.n_distinct
    of_training = trained.n_equal_pairs / max(trained.n_pairs, 1)
    times = evaluated.times
    n_repeated = float((times * (times - 1)).sum()) * evaluated.n_distinct / max(times.size, 1)
    of_evaluation = min(
        (1 + evaluated.n_equal_pairs) / max(evaluated.n_pairs, 1),
        (2 + n_repeated) / max(evaluated.n_seen * (evaluated.n_seen - 1), 1),
    )
    low, high = REPLACED
    if low <= n * of_training <= high:
        return min(1.0, n * of_evaluation)
    together = (1 + trained.n_equal_pairs) / max(trained.n_pairs, 1)
    return min(1.0, n * max(of_training, min(together, of_evaluation)))
