"""Gates of persistence: a condition counts when it stays, and after the first steps."""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median

PERSISTENT_K = 3
PERSISTENT_N = 5
LASTING_SHARE = 0.5  # of the samples after the first: what goes away by itself is no fault
WARM_IN_STEPS = 20
WARM_IN_SHARE = 0.02
LEFT_BEHIND = 2  # the floor of samples looks at least once while the steps grow by an eighth
# Largest update / weight of any matrix: half of the least usual; too small 3e-7 to 4e-4, random
# labels 1e-3.
SMALL_STEP = 2.0**-11
SUSTAINED_SAMPLES = 32  # a median of three single squared errors reaches four times their mean


def warm_in(total_steps: int | None) -> int:
    """Steps before statistical rules look: 20, or 2 % of the plan if that is more."""
    return max(WARM_IN_STEPS, int(WARM_IN_SHARE * (total_steps or 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """Where a condition holds: the steps of its first and last sample, and all of them."""

    first_step: int
    last_step: int
    where: IntArray


def persistence(
    steps: IntArray,
    condition: BoolArray,
    *,
    k: int = PERSISTENT_K,
    n: int = PERSISTENT_N,
    start: int = 0,
    lasting_share: float = LASTING_SHARE,
) -> Persistence | None:
    """The condition if it held in k of n successive samples and a share of those after.

    Args:
        steps: Sampled steps, ascending, shape (n_samples,).
        condition: Whether it holds at each, shape (n_samples,).
        k: Samples that must agree.
        n: Samples looked at together.
        start: Samples before this step are not looked at (`warm_in`).
        lasting_share: Share of the samples from the first on in which it must hold.

    Returns:
        None when the condition does not persist. `where` holds positions into `steps`.
    """
    kept = np.flatnonzero(steps >= start)
    holds = condition[kept]
    if int(holds.sum()) < k:
        return None
    counts = np.convolve(holds.astype(np.int64), np.ones(n, dtype=np.int64))[: holds.size]
    reached = np.flatnonzero(counts >= k)
    if not reached.size:
        return None
    window = np.arange(max(0, int(reached[0]) - n + 1), int(reached[0]) + 1)
    first = int(window[holds[window]][0])
    if holds[first:].mean() < lasting_share:
        return None
    where = kept[np.flatnonzero(holds)]
    where = where[where >= kept[first]]
    return Persistence(
        first_step=int(steps[kept[first]]), last_step=int(steps[where[-1]]), where=where
    )


def run_length(holds: BoolArray) -> int:
    """How many entries up to the last one hold without a gap, shape (n,), oldest first."""
    broken = np.flatnonzero(~holds)
    return int(holds.size - 1 - broken[-1]) if broken.size else int(holds.size)


def is_left_behind(known: int, last: int) -> bool:
    """Whether more than half of a run came after what is known last: it says nothing of its end.

    Args:
        known: The last step at which something is known.
        last: The last step of the run.
    """
    return last > LEFT_BEHIND * max(known, 1)


def lasting_from(holds: BoolArray, *, share: float, least: int) -> int | None:
    """Where a condition begins that then holds to the end: what a run turns into.

    Args:
        holds: Shape (n,), oldest first.
        share: Of the entries from there on in which it must hold.
        least: Entries from there on.

    Returns:
        The first such place at which it holds; None when there is none.
    """
    counts = np.cumsum(holds[::-1])[::-1]
    lengths = np.arange(holds.size, 0, -1)
    starts = np.flatnonzero(holds & (counts >= share * lengths) & (lengths >= least))
    return int(starts[0]) if starts.size else None


def excursion(losses: FloatArray, reference: float, *, width: int) -> tuple[float, int] | None:
    """Largest loss after the first step over a reference level, and its position.

    Losses that are not finite are left out (non_finite tells of them).

    Args:
        losses: Shape (n,), oldest first.
        reference: Level to compare with, positive.
        width: Losses whose median is compared: one step may be a hard batch.

    Returns:
        None when there is nothing to compare.
    """
    smooth = losses
    if losses.size >= width > 1:
        windows = np.lib.stride_tricks.sliding_window_view(losses, width)
        lead = width // 2
        smooth = np.concatenate(
            [losses[:1], np.full(lead - 1, -np.inf), np.median(windows, axis=1)]
        )
    later = np.where(np.isfinite(smooth[1:]), smooth[1:], -np.inf)
    if not later.size or not reference > 0 or not np.isfinite(later).any():
        return None
    place = int(np.argmax(later)) + 1
    return float(smooth[place] / reference), place


def sustained_width(batch_size: float) -> int:
    """Losses whose median is no matter of one hard sample: 3 to 25, 32 samples together."""
    needed = min(25.0, max(3.0, SUSTAINED_SAMPLES / max(1.0, batch_size)))
    return int(needed) // 2 * 2 + 1


def usual(values: FloatArray, fallback: float) -> float:
    """Median of the values, or the fallback when none was recorded."""
    found = median(values)
    return fallback if np.isnan(found) else found


def is_warming_up(rates: FloatArray) -> bool:
    """The learning rate still rises at the end, and began below half of that.

    Args:
        rates: Learning rate of each step, oldest first; NaN where it is not known.
    """
    known = rates[np.isfinite(rates)]
    if known.size < 2:  # noqa: PLR2004 - a rise takes two
        return False
    rising = known[-1] > known[-2] and known[-1] >= known.max()
    return bool(rising and known[0] < known[-1] / 2)
