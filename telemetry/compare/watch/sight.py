"""What one look at a run shows: its curves, the norms of its layers, where its time went."""

from dataclasses import dataclass, field

from telemetry.diagnose.finding import Diagnosis
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.summaries.norm_map import NormMap, norm_map
from telemetry.store.summaries.summaries import (
    Curve,
    Description,
    Timing,
    run_curves,
    run_description,
)

STRETCHES = 120  # of the map of norms: more columns than a panel has
RECENT_STEPS = 100  # that the pace of a run is measured over


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """One look at a run; `diagnosis` is the last one, None before the first.

    `fresh` names the detectors whose findings came while the run was watched.
    """

    run: Run
    curves: tuple[Curve, ...]
    timing: Timing
    description: Description
    norms: NormMap
    diagnosis: Diagnosis | None = None
    fresh: frozenset[str] = field(default=frozenset())
    warnings: tuple[str, ...] = field(default=())

    @property
    def steps_per_s(self) -> float | None:
        """Pace of the last hundred steps; None where no time was recorded."""
        curve = next((one for one in self.curves if one.name == "step_s"), None)
        if curve is None or not curve.values.size:
            return None
        mean = float(curve.values[-RECENT_STEPS:].mean())
        return 1 / mean if mean > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the planned end at this pace; None where no plan or no pace is known."""
        planned, pace = self.planned_steps, self.steps_per_s
        if planned is None or pace is None:
            return None
        return max(planned - self.run.steps, 0) / pace

    @property
    def planned_steps(self) -> int | None:
        """Steps that the run is to take, as the training said."""
        return self.run.manifest.total_steps if self.run.manifest else None

    def to_json(self) -> dict[str, Json]:
        """One entry of `runs` of `watch --json`."""
        diagnosis = self.diagnosis
        return {
            "run": self.run.to_json(),
            "steps_per_s": self.steps_per_s,
            "left_s": self.left_s,
            "layers": [
                {"layer": layer, "grad_norm": list(map(float, norms))}
                for layer, norms in zip(self.norms.layers, self.norms.norms, strict=True)
            ],
            "findings": []
            if diagnosis is None
            else [finding.to_json() for finding in diagnosis.findings],
        }


def read_sight(store: Store, run: Run) -> Sight:
    """Everything but the diagnosis of one run, in one session."""
    with store.session([run]) as session:
        found = run_curves(session, run)
        return Sight(
            run=run,
            curves=found.curves,
            timing=found.timing,
            description=run_description(session, run),
            norms=norm_map(session, run, n_steps=run.steps, points=STRETCHES),
            warnings=session.warnings,
        )
