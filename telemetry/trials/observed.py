"""What replays have recorded: their curves, and what a diagnosis finds in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.curves import read_curves
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.diff.metric_curves import MetricCurves
from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.policy import Policy
from telemetry.errors import TelemetryError
from telemetry.finding import Finding
from telemetry.requests.trial_report import TrialReport
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.trials.children import Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One replay that came to its end.

    Attributes:
        seed_offset: Added to the script's seeds.
        report: What the process said.
        curves: Loss and evaluated metrics by name, up to the last step that was asked for.
        findings: Detectors of all findings; None where they were not looked for.
        roots: Those of causes, which are no consequence of another finding.
    """

    seed_offset: int
    report: TrialReport
    curves: Mapping[str, Series]
    findings: frozenset[str] | None = None
    roots: frozenset[str] = frozenset()

    @property
    def losses(self) -> Series | None:
        """The training loss of each step."""
        return self.curves.get(LOSS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A replay of which nothing can be said.

    Attributes:
        reason: Why.
        is_refused: The remedy does not apply; else the script failed.
    """

    reason: str
    is_refused: bool = False


def observe(ended: Ended, *, steps: int, policy: Policy | None) -> Observed | Missing:
    """What a replay has recorded, or why nothing can be said of it.

    Args:
        ended: A replay.
        steps: That were asked for; what was recorded beyond is left out.
        policy: How it is diagnosed; None: it is not.
    """
    report = ended.report
    if ended.failure is not None or report is None:
        return Missing(reason=ended.failure or "it reported nothing")
    if report.refused is not None:
        return Missing(reason=report.refused, is_refused=True)
    if report.failed is not None:
        return Missing(reason=report.failed)
    store = Store.expected(ended.store)
    run = next((run for run in store.runs() if run.run == report.run), None)
    if run is None:
        return Missing(reason="it recorded no run")
    curves = _curves(store, run, steps)
    if LOSS not in curves:
        return Missing(reason="it recorded no loss")
    found = None if policy is None else _findings(store, run, policy)
    return Observed(
        seed_offset=ended.job.seed_offset,
        report=report,
        curves=curves,
        findings=None if found is None else frozenset(one.detector for one in found),
        roots=frozenset(one.detector for one in found or () if one.consequence_of is None),
    )


def curves_of(store: Store, run: Run, steps: int) -> Mapping[str, Series]:
    """Loss and evaluated metrics of a recorded run, up to a step."""
    return _curves(store, run, steps)


def first_difference(one: Series, other: Series, *, steps: int) -> int | None:
    """The first step whose losses differ by a bit, of those that both have; None: none does.

    Args:
        one: Losses.
        other: Those of another run.
        steps: How many are compared.
    """
    common, left, right = np.intersect1d(one.steps, other.steps, return_indices=True)
    inside = common < steps
    a, b = one.values[left][inside], other.values[right][inside]
    different = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))))
    return int(common[inside][different[0]]) if different.size else None


def group_of(members: list[Observed], name: str) -> MetricCurves:
    """Replays of one kind for one metric, told apart by their seeds."""
    having = [member for member in members if name in member.curves]
    living = [member for member in having if np.isfinite(member.curves[name].final())]
    ends = [member.curves[name].not_finite_from() for member in having if member not in living]
    return MetricCurves(
        curves=tuple(member.curves[name] for member in living),
        seeds=tuple(member.seed_offset for member in living),
        n_diverged=len(ends),
        diverged_at=min(ends, default=None),
    )


def _curves(store: Store, run: Run, steps: int) -> Mapping[str, Series]:
    with store.session([run]) as session:
        found = dict(read_curves(session, run, ()))
    if LOSS in found:
        # A step without a loss, such as a second call of `optimizer.step()`, is none to compare.
        found[LOSS] = replace(found[LOSS], steps=np.arange(len(found[LOSS]), dtype=np.int64))
    cut = {name: series.until(steps - 1) for name, series in found.items()}
    return {name: series for name, series in cut.items() if len(series)}


def _findings(store: Store, run: Run, policy: Policy) -> Sequence[Finding] | None:
    try:
        return findings_of(store, run, policy)
    except TelemetryError:
        return None
