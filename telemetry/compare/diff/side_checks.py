"""The two sides of a comparison: which runs count, and what is wrong with them."""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from telemetry.compare.curves.axes import place
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.diff.compared_run import ComparedRun, Side
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.compare.settings.config_changes import canonical, flat, is_repeat_key
from telemetry.compare.terms import Axis
from telemetry.errors import UsageError
from telemetry.format.manifest import Status
from telemetry.store.runs.run import Run

LENGTHS_DIFFER_FROM = 1.05  # ratio of last steps from which the shorter run is pointed out
ALIVE = frozenset({Status.FINISHED, Status.UNREADABLE})


def as_runs(runs: Run | Sequence[Run]) -> tuple[Run, ...]:
    """One run or several, as given, each once."""
    several = (runs,) if isinstance(runs, Run) else tuple(runs)
    return tuple({run.ref.path: run for run in several}.values())


def check_sides(base: Sequence[Run] | None, candidate: Sequence[Run]) -> None:
    """Refuse what cannot be compared.

    Args:
        base: Recorded runs, None for those of a file.
        candidate: Recorded runs.

    Raises:
        UsageError: a side is empty, or a run is on both.
    """
    for name, side in (("base", base), ("candidate", candidate)):
        if side is not None and not side:
            raise UsageError(f"no run was given as {name}; `telemetry runs` lists all runs.")
    both = {run.ref.path for run in base or ()} & {run.ref.path for run in candidate}
    if both:
        names = ", ".join(sorted(run.run for run in candidate if run.ref.path in both))
        raise UsageError(
            f"{names} is both base and candidate; choose different runs, such as latest~1 and "
            "latest."
        )


def without_twins(side: Side) -> tuple[Side, tuple[str, ...]]:
    """The side without runs whose values repeat another's exactly, and a warning for each.

    The same seed run twice gives one observation, not two: counted twice it would make the
    difference look more certain than it is.
    """
    kept: list[ComparedRun] = []
    warnings: list[str] = []
    for member in side:
        twin = next((other for other in kept if _equal(member, other)), None)
        if twin is None:
            kept.append(member)
        else:
            warnings.append(
                f"{member.labels.label} repeats {twin.labels.label} exactly (same seed?); they "
                "count as one run."
            )
    return tuple(kept), tuple(warnings)


def metric_curves(side: Side, name: str) -> MetricCurves:
    """The side for one metric: curves of living runs that have it, and how many runs died."""
    having = [member for member in side if name in member.curves or member.diverged]
    dead = [m for m in having if m.diverged or math.isnan(m.curves[name].final())]
    living = [member for member in having if member not in dead]
    ends = [m.curves[LOSS if m.diverged else name].not_finite_from() for m in dead]
    return MetricCurves(
        curves=tuple(member.curves[name] for member in living),
        seeds=tuple(_repetition(member) for member in living),
        n_diverged=len(dead),
        diverged_at=min(ends, default=None),
    )


def side_warnings(
    base: Side, candidate: Side, deciding: str | None, axis: Axis = Axis.STEP
) -> list[str]:
    """What the reader should know about the runs before trusting the verdict.

    Args:
        base: Its curves lie along the axis.
        candidate: Likewise.
        deciding: The metric that decides, if there is one.
        axis: What the positions of the curves mean.
    """
    members = [*base, *candidate]
    warnings = [
        f"{member.labels.label} is {member.labels.status}; its values are from "
        f"{place(axis, member.last_step)}."
        for member in members
        if member.labels.status not in ALIVE
    ]
    if deciding is None:
        return warnings
    lacking = [member.labels.label for member in members if deciding not in member.curves]
    if lacking:
        warnings.append(f"{deciding} is missing in {', '.join(lacking)}.")
    ends = [
        max((int(m.curves[deciding].steps[-1]) for m in side if deciding in m.curves), default=0)
        for side in (base, candidate)
    ]
    if max(ends) + 1 > LENGTHS_DIFFER_FROM * (min(ends) + 1):
        warnings.append(
            f"{deciding} ends at {place(axis, ends[0])} in the base and {place(axis, ends[1])} "
            f"in the candidate; values up to {place(axis, min(ends))} are compared."
        )
    return warnings


def alike(base: Side, candidate: Side) -> tuple[int, int]:
    """Positions of the first runs of both sides with the same seed, else of the first runs.

    Where runs part is worth knowing of two that had no need to: other seeds part at once.
    """
    places = {_repetition(member): place for place, member in reversed([*enumerate(candidate)])}
    found = (
        (place, places[repetition])
        for place, member in enumerate(base)
        if (repetition := _repetition(member)) is not None and repetition in places
    )
    return next(found, (0, 0))


def _repetition(member: ComparedRun) -> Hashable | None:
    """What numbers a run among the repetitions of its configuration, such as its seed."""
    config = flat(member.labels.config)
    keys = sorted(key for key in config if is_repeat_key(key))
    return tuple((key, canonical(config[key])) for key in keys) or None


def _equal(left: ComparedRun, right: ComparedRun) -> bool:
    if set(left.curves) != set(right.curves):
        return False
    pairs = [(left.curves[name], right.curves[name]) for name in left.curves if name != "step_s"]
    return all(
        np.array_equal(a.steps, b.steps) and np.array_equal(a.values, b.values, equal_nan=True)
        for a, b in pairs
    )
