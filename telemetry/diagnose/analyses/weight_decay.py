"""What decay has done to the weight matrices of a run, and whether it outweighs the gradient.

Decay and gradient come to a balance in which each is as large as the other (Kosson et al.,
arXiv:2305.17212): decay that is many times the gradient part of the update cannot stay so without
shrinking the weights, unless it is the gradient that has gone.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.evidence.grids import Grid
from telemetry.diagnose.evidence.network import Parameter
from telemetry.diagnose.judgement.gates import lasting_from, persistence
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, median, row_medians

HELD_SHARE = 0.6  # of the limit, that it stays above once the weights have shrunk: 0.7 at balance
# Below the largest norm: the decay has had time to act. Labels that teach nothing end at 0.5 under
# a usual decay, for its part is then all there is; harmful decays at 0.86 and more.
SHRUNK_BITS = 0.7
SHRINKS_BITS = 0.25  # enough where the loss was lost under such a decay
EXPLODED_BITS = 3.0  # what shrinks after such growth was blown up first
NO_NORM = 1e-38
OUTWEIGHS = (
    8.0  # times the gradient part, to the end; runs that learn below 2, crushed ones from 20
)
OUTWEIGHS_SAMPLES = 5
OUTWEIGHS_SHARE = 0.8  # of the samples from there on
OUTWEIGHS_BITS = 0.1  # that the weights have lost since: seven hundredths
GRADIENT_LEFT = 0.25  # of that of the first samples: else it is the gradient that has gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """What decay has done to the weight matrices.

    Attributes:
        ratio: Decay over gradient part in the median matrix where it persists; else NaN.
        lost: Bits below its largest norm at which each matrix ends, shape (n_matrices,); NaN for
            one that never had a norm to lose.
        gain: Relative fall of the loss for a relative growth of all matrices, at most.
        outweighs: It is many times a gradient that is still there, to the end.
        first_step: Since when.
        shrunk_step: Since when the weights have lost `SHRUNK_BITS`; `first_step` if that is before.
        last_step: Of the last sample.
    """

    ratio: float
    lost: FloatArray
    gain: float
    outweighs: bool
    first_step: int
    shrunk_step: int
    last_step: int

    @property
    def is_strong(self) -> bool:
        """It is as large as the gradient part, and has shrunk the weights."""
        return not math.isnan(self.ratio) and median(self.lost) >= SHRUNK_BITS

    @property
    def shrinks(self) -> bool:
        """It is as large as the gradient part, and shrinks the weights."""
        return not math.isnan(self.ratio) and median(self.lost) >= SHRINKS_BITS

    @property
    def crushes(self) -> bool:
        """It is nearly all of the update, and has begun to shrink the weights."""
        return self.outweighs and median(self.lost) >= OUTWEIGHS_BITS


def decay_of(
    found: dict[str, Grid],
    matrices: list[Parameter],
    context: RunContext,
    *,
    limit: float,
    collapsed_bits: float,
) -> Decay:
    """Read it of the samples.

    Args:
        found: Grids by parameter: `norm` of the weights, `decay` over gradient part of the update,
            and `gain`, the norm of the weights times that of the gradient.
        matrices: Those that have a norm.
        context: Of the run.
        limit: Of decay over gradient part.
        collapsed_bits: Loss of norm that counts whatever the decay.
    """
    norms = found["norm"].columns([m.id for m in matrices])
    floors = np.array([m.norm_floor for m in matrices])  # a matrix that is zero has none to lose
    peaks = np.fmax.accumulate(norms.values, axis=0)
    # A weight of exactly zero is as far down as can be told.
    below = np.log2(np.where(peaks > floors, peaks, np.nan) / np.maximum(norms.values, NO_NORM))
    grown = median(np.log2(peaks[-1] / np.fmax(peaks[0], floors)))
    ratios = found["decay"].columns(norms.ids)
    usual = row_medians(ratios.values)
    held = persistence(ratios.steps, usual >= limit, lasting_share=0.0)
    if persistence(ratios.steps, usual >= HELD_SHARE * limit) is None:
        held = None
    lost = row_medians(below)
    first = _first(norms, lost >= collapsed_bits)
    first = first if held is None else min(first, held.first_step)
    gains = found["gain"].columns(norms.ids)
    return Decay(
        ratio=math.nan if held is None else median(usual[held.where]),
        lost=_last(below) if grown <= EXPLODED_BITS else np.zeros(len(matrices)),
        gain=_gain(gains, context),
        outweighs=_outweighs(ratios, gains),
        first_step=first,
        shrunk_step=min(first, _first(norms, lost >= SHRUNK_BITS)),
        last_step=int(norms.steps[-1]),
    )


def _first(grid: Grid, holds: BoolArray) -> int:
    """First step at which it holds; the last sample where it never does."""
    return int(grid.steps[np.argmax(holds)]) if holds.any() else int(grid.steps[-1])


def _last(values: FloatArray) -> FloatArray:
    """The last value of each column that is not NaN; NaN for a column without any."""
    backwards = values[::-1]
    place = np.argmax(~np.isnan(backwards), axis=0)
    return np.asarray(backwards[place, np.arange(values.shape[1])])


def _outweighs(ratios: Grid, gains: Grid) -> bool:
    """Decay is many times a gradient part to the end, and the gradient is still there."""
    holds = row_medians(ratios.values) >= OUTWEIGHS
    start = lasting_from(holds, share=OUTWEIGHS_SHARE, least=OUTWEIGHS_SAMPLES)
    if start is None:
        return False
    sizes = row_medians(gains.values)
    later = sizes[gains.steps >= ratios.steps[start]]
    return median(later) >= GRADIENT_LEFT * median(sizes[:OUTWEIGHS_SAMPLES])


def _gain(products: Grid, context: RunContext) -> float:
    """Sum of gradient times weight norms over the loss, in the later half of the samples.

    A loss with negative values has no level: its fall so far stands for it.
    """
    progress = context.progress
    late = products.steps >= median(products.steps.astype(np.float64))
    total = np.nansum(products.values[late], axis=1)
    is_signed = bool((context.losses < 0).any())
    level = progress.start - progress.end if is_signed else abs(progress.end)
    return median(total) / level if level > 0 else math.nan
