"""Places curves along samples, tokens or time, for runs whose steps mean different things.

A clock tells how far a run had come after each step: samples or tokens seen, or milliseconds of
recorded time. A curve along it is the same values at those positions. A resumed run counts on, and
the steps that it repeated count once (view `steps`).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.terms import Axis
from telemetry.errors import UsageError

TICKS_PER_S = 1_000  # positions are whole numbers; a millisecond of a training is exact enough
ADVICE = {
    Axis.SAMPLES: "forward passes were not observed during training",
    Axis.TOKENS: 'log how many were seen, as telemetry.log({"tokens": n})',
    Axis.TIME: "its source log contains no times",
}

Clocks = Mapping[Axis, Series]


def along(curves: Mapping[str, Series], clocks: Clocks, axis: Axis, run: str) -> dict[str, Series]:
    """Curves by metric name with positions on the axis instead of steps.

    Between two readings the clock is taken to run evenly; a value before the first step lies at 0.
    Of several values at one position the last stays.

    Args:
        curves: Over steps.
        clocks: Positions after each step, never falling, by axis.
        axis: The axis wanted.
        run: What the message calls the run.

    Raises:
        UsageError: the run has no clock for the axis.
    """
    if axis is Axis.STEP:
        return dict(curves)
    clock = clocks.get(axis)
    if clock is None or not len(clock):
        raise UsageError(f"{run} has no {axis} to compare by: {ADVICE[axis]}; or compare by step.")
    return {name: _placed(series, clock) for name, series in curves.items()}


def place(axis: Axis, position: int) -> str:
    """A position in words: `step 1200`, `64000 samples`, `12.5 s`."""
    if axis is Axis.STEP:
        return f"step {position}"
    return f"{position / TICKS_PER_S:g} s" if axis is Axis.TIME else f"{position} {axis}"


def in_units(axis: Axis, position: int) -> float:
    """A position in steps, samples, tokens or seconds."""
    return position / TICKS_PER_S if axis is Axis.TIME else float(position)


def _placed(series: Series, clock: Series) -> Series:
    between = np.interp(series.steps, clock.steps, clock.values, left=0.0)
    positions = between.round().astype(np.int64)
    last = np.append(np.diff(positions) > 0, True)
    return replace(series, steps=positions[last], values=series.values[last])
