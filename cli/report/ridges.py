"""Ridges: how the magnitudes of a parameter's weights are spread, one above the other in time."""

from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.texts import plural
from telemetry.cli.report.frame import Frame, Label, at, framed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.store.summaries.weight_spreads import Spread, WeightSpread

OVERLAP = 1.6  # how far a ridge may rise, in rows
ROW_REM = 1.3
LEAST_SHARE = 1e-4  # of the elements, below which an octave is not worth the room it takes
FEWEST_OCTAVES = 6
MOST_TICKS = 5


def ridges(weights: "WeightSpread") -> str:
    """One parameter, a ridge a step, the first one on top."""
    octaves = [
        exponent
        for spread in weights.spreads
        for exponent, share in spread.octaves
        if share >= LEAST_SHARE
    ]
    low, high = min(octaves), max(octaves) + 1
    low -= max(FEWEST_OCTAVES - (high - low), 0)
    most = max(share for spread in weights.spreads for _, share in spread.octaves)
    n_rows = len(weights.spreads)
    rows = n_rows + OVERLAP - 1
    shapes = [
        _ridge(spread, (low, high), base=(place + OVERLAP) / rows, height=OVERLAP / rows / most)
        for place, spread in enumerate(weights.spreads)
    ]
    stride = -(-(high - low) // MOST_TICKS)
    return framed(
        Frame(
            title=weights.parameter,
            described=_described(weights.spreads),
            shapes=shapes,
            left=[
                Label(
                    place=(place + OVERLAP - 0.3) / rows,
                    text=f"step {numbers.count(spread.step)}" if place == 0 else _step(spread),
                )
                for place, spread in enumerate(weights.spreads)
            ],
            below=[
                Label(place=(e - low) / (high - low), text=numbers.compact(2.0**e))
                for e in range(low, high + 1, stride)
            ],
            below_name=f"magnitude of {plural(weights.n, 'weight')}",
            height_rem=ROW_REM * rows,
        )
    )


def _step(spread: "Spread") -> str:
    return numbers.count(spread.step)


def _ridge(spread: "Spread", span: tuple[int, int], *, base: float, height: float) -> str:
    low, high = span
    shares = dict(spread.octaves)
    points = [f"M0 {at(base)}"]
    for exponent in range(low, high):
        middle = (exponent + 0.5 - low) / (high - low)
        points.append(f"L{at(middle)} {at(base - height * shares.get(exponent, 0.0))}")
    return f'<path class="ridge" d="{"".join(points)}L1000 {at(base)}"/>'


def _described(spreads: "Sequence[Spread]") -> str:
    said = []
    for spread in (spreads[0], spreads[-1]):
        peak = max(spread.octaves, key=lambda octave: octave[1])[0]
        near = numbers.compact(2.0**peak)
        said.append(f"at step {numbers.count(spread.step)} most lie from {near} to twice that")
    return "; ".join(dict.fromkeys(said))
