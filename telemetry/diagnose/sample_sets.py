"""What sketches tell of the samples of training and of evaluations: how much they share.

A sketch holds the smallest hashes of a set. Up to the smaller of two largest hashes both sets are
known in full, and a uniform part of each: shares are taken there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.diagnose.robust import BoolArray, IntArray
from telemetry.store.rows import Rows

SIZE = 4096  # hashes of a full sketch
LARGEST = 2**64 - 1
LIKE_TRAINING = 0.8  # share of a forward that was trained on: an evaluation of the training data
FORWARD_SAMPLES = 8  # known of a forward, usually: then it is judged alone
GROUP_SAMPLES = 16  # else forwards are put together until so many are known

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """A set of samples as sketched.

    Attributes:
        step: Of its row.
        phase: train, eval or both.
        hashes: Ascending, distinct.
        times: How often each came.
        forwards: In which forward each came first; empty for training.
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
                limit=LARGEST if known.size < SIZE else int(known[-1]),
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
        n: Samples compared, in forwards that are not of training samples alone.
        n_shared: Of them, trained on.
        n_like_training: Samples compared in forwards of training samples (nearly) alone.
        train_share: Share of the training samples that the n_shared are.
        scale: Samples of the evaluation for each one compared.
    """

    step: int
    n: int
    n_shared: int
    n_like_training: int
    train_share: float
    scale: float

    @property
    def share(self) -> float:
        """Of the samples evaluated beside the training data, those that were trained on."""
        return self.n_shared / self.n if self.n else 0.0

    @property
    def n_compared(self) -> int:
        """All samples compared."""
        return self.n + self.n_like_training


def overlap(evaluated: SampleSet, trained: SampleSet) -> Overlap:
    """Compare an evaluation with the training, forward by forward.

    Evaluating the training data too is common. Its forwards hold training samples alone, so that
    they are counted apart; a forward that holds others as well is of a set that shares samples.
    """
    limit = np.uint64(min(evaluated.limit, trained.limit))
    known = evaluated.hashes <= limit
    shared = np.isin(evaluated.hashes[known], trained.hashes)
    groups, is_joined = _groups(evaluated.forwards[known])
    n = np.bincount(groups, minlength=1)
    n_shared = np.bincount(groups, weights=shared, minlength=1)
    like = n_shared >= LIKE_TRAINING * np.maximum(n, 1)
    beside = ~like & ~_neighbours(like) if is_joined else ~like
    n_known = max(int(known.sum()), 1)
    return Overlap(
        step=evaluated.step,
        n=int(n[beside].sum()),
        n_shared=int(n_shared[beside].sum()),
        n_like_training=int(n[like].sum()),
        train_share=float(n_shared[beside].sum() / max(int((trained.hashes <= limit).sum()), 1)),
        scale=evaluated.n_distinct / n_known,
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
    if np.median(counts) >= FORWARD_SAMPLES:
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

    From the pairs of equal samples within forwards, of either set or of both with one more than was
    seen: a table of few columns holds the same row often, continuous inputs never do.
    """
    sets = (trained, evaluated)
    n_pairs, n_equal = sum(s.n_pairs for s in sets), sum(s.n_equal_pairs for s in sets)
    shares = [(s.n_equal_pairs / s.n_pairs) for s in sets if s.n_pairs]
    return float(min(1.0, max(*shares, 0.0, (1 + n_equal) / max(n_pairs, 1)) * trained.n_distinct))
