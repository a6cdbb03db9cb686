"""The first steps of a run, and those after a warm-up: how much of the weights they replace."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Limits
from telemetry.diagnose.evidence.grids import grids
from telemetry.diagnose.evidence.network import Parameter
from telemetry.diagnose.judgement.robust import FloatArray, IntArray
from telemetry.store.sessions.rows import Rows

GROUP_FACTOR = 4.0  # a group of a rate so much higher is judged by itself
GROUP_MATRICES = 2  # one may be a head that starts at zero


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlySteps:
    """What the first ten steps, and those after warm-up, did to the matrices.

    Attributes:
        ratio: Largest update over weight of the median matrix.
        layers: Owners of the matrices, the largest steps first.
        step: First step that was looked at.
        rate: Learning rate of a group of parameters that is judged by itself.
    """

    ratio: float
    layers: tuple[str, ...]
    step: int
    rate: float | None = None


def fast_group(rows: Rows, context: RunContext, limits: Limits) -> EarlySteps | None:
    """The parameter group of the largest steps among those of a rate far above another's."""
    known, signals = {0: context.steps.lr}, grids(rows)
    for group in {p.lr_group for p in context.network.parameters if p.lr_group}:
        changes = signals.get(f"lr/{group}")  # a metric of the user may be called lr/..., too
        if changes is not None:
            known[group] = changes.values[:, 0]
    rates = {group: float(np.max(values, initial=0.0)) for group, values in known.items()}
    lowest = min((rate for rate in rates.values() if rate > 0), default=math.inf)
    found = []
    for group, rate in rates.items():
        own = [matrix for matrix in context.network.matrices if matrix.lr_group == group]
        if rate >= GROUP_FACTOR * lowest and len(own) >= GROUP_MATRICES:
            early = early_steps(rows, context, limits, own)
            found += [replace(early, rate=rate)] if early is not None else []
    return max(found, key=lambda early: early.ratio, default=None)


def early_steps(
    rows: Rows, context: RunContext, limits: Limits, chosen: Sequence[Parameter] | None = None
) -> EarlySteps | None:
    """The steps of all matrices, or of some; None where none was sampled.

    Args:
        rows: Signal `update_ratio` by parameter, of the first steps and those after the learning
            rate has come near its peak.
        context: The run.
        limits: `peak_share` of the highest rate, where a warm-up ends, and `early_steps`.
        chosen: The matrices; None is all of the network.
    """
    matrices = context.network.matrices if chosen is None else chosen
    ratios = grids(rows)["update_ratio"].columns([matrix.id for matrix in matrices])
    start = _warm_up_end(context.steps.step, context.steps.lr, share=limits["peak_share"])
    near = (ratios.steps >= start) & (ratios.steps < start + limits["early_steps"])
    seen = np.flatnonzero((~np.isnan(ratios.values[near])).any(axis=0))
    if not seen.size:
        return None
    after = float(np.median(np.nanmax(ratios.values[near][:, seen], axis=0)))
    # Weights that a warm-up has blown up take small steps after it.
    largest = np.nanmax(ratios.values[:, seen], axis=0)
    ratio = float(np.median(largest))
    owners = [matrices[place].layer for place in seen.tolist()]
    return EarlySteps(
        ratio=ratio,
        layers=tuple(dict.fromkeys(owners[place] for place in np.argsort(-largest))),
        step=int(ratios.steps[near][0] if after == ratio else ratios.steps[0]),
    )


def _warm_up_end(steps: IntArray, rates: FloatArray, *, share: float) -> int:
    """First step at that share of the highest rate, if the rate only rose until there."""
    known = np.flatnonzero(np.isfinite(rates))
    if not known.size:
        return 0
    peak = int(known[np.argmax(rates[known] >= share * rates[known].max())])
    rising = bool((np.diff(rates[known[known <= peak]]) >= 0).all())
    return int(steps[peak]) if rising else int(steps[known[0]])
