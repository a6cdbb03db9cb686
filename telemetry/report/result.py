"""What a report says: the runs in detail, their curves, and how they compare."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.diff.result import Diff
from telemetry.compare.plot.plot import Plot
from telemetry.compare.sweep.result import Sweep
from telemetry.diagnose.finding import Diagnosis
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.summaries.layer_maps import LayerMap
from telemetry.store.summaries.norm_map import NormMap
from telemetry.store.summaries.summaries import Description, Footprint, Timing
from telemetry.store.summaries.trained_parameters import TrainedParameters
from telemetry.store.summaries.weight_spreads import WeightSpread
from telemetry.trials.stored import StoredTry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunReport:
    """One run in detail; the stretches of its maps divide `run.steps` equally."""

    run: Run
    timing: Timing
    description: Description
    footprint: Footprint
    trained: TrainedParameters
    diagnosis: Diagnosis
    tries: tuple[StoredTry, ...]
    norms: NormMap
    update_ratios: LayerMap
    dead_units: LayerMap
    weights: tuple[WeightSpread, ...]

    def to_json(self) -> dict[str, Json]:
        """One entry of `runs` of `report --json`."""
        ratios, dead = self.update_ratios, self.dead_units
        return {
            "run": self.run.to_json(),
            "n_samples": self.footprint.n_samples,
            "findings": [finding.to_json() for finding in self.diagnosis.findings],
            "state": self.diagnosis.state,
            "tries": [one.to_json() for one in self.tries],
            "grad_norm": _rows(self.norms.layers, self.norms.norms, "layer"),
            "update_ratio": _rows(ratios.labels, ratios.values, "parameter"),
            "dead_share": _rows(dead.labels, dead.values, "layer"),
            "weights": [
                {
                    "parameter": one.parameter,
                    "spreads": [
                        {"step": spread.step, "octaves": dict(_named(spread.octaves))}
                        for spread in one.spreads
                    ],
                }
                for one in self.weights
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """What a page shows.

    Attributes:
        n_runs: How many were asked for; `runs` has those that are shown in detail.
        plot: Curves of the runs; None: none was recorded.
        diff: Of two sides; None: there are not two, or they cannot be compared.
        sweep: Of many runs; None as for `diff`.
        notes: Why a part is missing, in sentences.
        warnings: Files that could not be read.
    """

    n_runs: int
    runs: tuple[RunReport, ...]
    plot: Plot | None
    diff: Diff | None
    sweep: Sweep | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Body of `report --json`."""
        return {
            "n_runs": self.n_runs,
            "runs": [one.to_json() for one in self.runs],
            "plot": self.plot.to_json() if self.plot else None,
            "diff": self.diff.to_json() if self.diff else None,
            "sweep": self.sweep.to_json() if self.sweep else None,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def _rows(labels: Sequence[str], values: npt.NDArray[np.float64], key: str) -> list[Json]:
    return [{key: label, "values": row} for label, row in zip(labels, values.tolist(), strict=True)]


def _named(octaves: Sequence[tuple[int, float]]) -> list[tuple[str, Json]]:
    return [(str(exponent), share) for exponent, share in octaves]
