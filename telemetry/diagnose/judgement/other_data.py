"""Whether a loss is that of other data than before: it jumps, and the weights have not done it.

A curriculum forwards more of a sequence at each stage, and the loss sums over it; a model that
learns one task after another meets classes that it has never seen.
"""

from collections.abc import Sequence

import numpy as np

from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median, trend

GROWTH = 1.5  # of the samples that a step forwards
# Of the size of targets: those of a data set differ by 1.17 at most between thirds of a run, those
# that a model makes itself from 2.7 (measured).
TARGET_GROWTH = 4 / 3
TARGET_TREND = 3.0  # standard errors: targets of one sample each differ as much between any thirds
NEW_SHARE = 1 / 3  # of the labels are of classes that no sampled step before had
MIN_SAMPLES = 2  # of labels before
STAGE = 10  # steps of which the median is compared


def forwards_more(samples: FloatArray, place: int, *, recent: int) -> bool:
    """Whether steps from here on forward clearly more than those before.

    Args:
        samples: Rows forwarded in each step, all calls of the model together; NaN: not known.
        place: Of the first step in question.
        recent: Steps before it that are compared.
    """
    before, here = samples[max(0, place - recent) : place], samples[place : place + STAGE]
    return median(here) >= GROWTH * median(before)


def has_grown(samples: FloatArray) -> bool:
    """Whether the last steps of a run forward clearly more than the first."""
    return samples.size > 2 * STAGE and median(samples[-STAGE:]) >= GROWTH * median(samples[:STAGE])


def meets_new_classes(
    steps: IntArray, labels: Sequence[bytes | None], *, first: int, until: int
) -> bool:
    """Whether many labels of a stretch are of classes that none of the samples before had.

    Args:
        steps: Sampled steps, ascending.
        labels: Of each, counts per class as float32 values.
        first: First step of the stretch.
        until: Step that ends it.
    """
    counts = [np.frombuffer(label or b"", dtype="<f4") for label in labels]
    width = max((own.size for own in counts), default=0)
    is_known: BoolArray = np.array([own.size == width > 0 for own in counts], dtype=np.bool_)
    before = np.flatnonzero(is_known & (steps < first))
    here = np.flatnonzero(is_known & (steps >= first) & (steps < until))
    if before.size < MIN_SAMPLES or not here.size:
        return False
    unseen = np.sum([counts[i] for i in before], axis=0) == 0
    met = counts[int(here[0])].astype(np.float64)
    return bool(met[unseen].sum() >= NEW_SHARE * max(met.sum(), 1.0))


def targets_grow(sizes: FloatArray) -> bool:
    """Whether the targets of a regression become larger from third to third of the samples.

    Those of a data set stay as they are; those that the model makes itself (a value of its own
    estimates, by a Bellman equation) do not, and the error rises with them.

    Args:
        sizes: Root mean square of the targets of each sampled step, oldest first.
    """
    if sizes.size < 3 * MIN_SAMPLES:
        return False
    third = sizes.size // 3
    parts = (sizes[:third], sizes[third:-third], sizes[-third:])
    first, middle, last = (median(part) for part in parts)
    grown = first < middle < last and last >= TARGET_GROWTH * first
    return grown and trend(sizes)[1] >= TARGET_TREND
