"""What one run brings to a comparison, wherever it was read: no file and no query behind it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.axes import Clocks, along
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.diff.costs import RunCosts
from telemetry.compare.diff.layer_changes import LayerCurves
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.terms import Axis
from telemetry.diagnose.finding import Finding
from telemetry.json_values import Json
from telemetry.store.summaries.trained_parameters import TrainedParameters


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedRun:
    """One run, from its store or from a baseline file.

    Attributes:
        labels: What the run is called, and its configuration.
        settings: Configuration and telling environment with dotted keys, as
            `config_changes.settings`.
        curves: Metrics by name; at least one.
        layers: Log2 statistics by layer and statistic.
        costs: What a step costs, by name.
        findings: What the detectors found.
        clocks: How far the run had come after each step, by axis.
        trained: Which parameters are trained; None where a file does not say it.
    """

    labels: RunLabels
    settings: Mapping[str, Json]
    curves: Mapping[str, Series]
    layers: LayerCurves
    costs: RunCosts
    findings: tuple[Finding, ...]
    clocks: Clocks = field(default_factory=dict)
    trained: TrainedParameters | None = None

    def along(self, axis: Axis) -> "ComparedRun":
        """The same with its curves placed on an axis.

        Raises:
            UsageError: the run has no clock for the axis.
        """
        curves = along(self.curves, self.clocks, axis, self.labels.label)
        return replace(self, curves=curves)

    @property
    def diverged(self) -> bool:
        """Whether the training loss ended in values that are not finite."""
        loss = self.curves.get(LOSS)
        return loss is not None and math.isnan(loss.final())

    @property
    def last_step(self) -> int:
        """The last step with any value."""
        return max(int(series.steps[-1]) for series in self.curves.values())


Side = tuple[ComparedRun, ...]  # the seeds of one configuration, or one run
