"""A finding: what one rule says about a run. Light, for the training process knows it too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from telemetry.json_values import Json, json_integer, json_number, json_text


class Severity(StrEnum):
    """How much a finding matters; `info` never counts for an exit code."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


MODEL_ITSELF = "the model"  # what people read where a layer is the root module, whose path is empty
QUERY_KEY = "query"  # of a finding's evidence: SQL that shows the numbers behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One detector's verdict on a run; at most one per detector and run.

    Attributes:
        detector: Id of the rule.
        severity: error, warning or info.
        message: What is wrong, with numbers.
        advice: What to do about it; '' where the cause is another finding.
        layer: The worst layer (module path), or a parameter's name for findings about one
            parameter, or None for findings about the run.
        layers: All of them.
        first_step: First optimizer step that shows it; None: the whole run does.
        last_step: Last one.
        value: The statistic that was judged, in `unit`.
        threshold: Its limit, in `unit`.
        unit: Of both.
        evidence: Further numbers by name; `query` is SQL that shows them.
        consequence_of: Detector of the finding that has caused this one; None for a root.
        rules_out: Causes of the graph that the evidence excludes for this finding.
        also_causes: What it has caused besides what the graph says.
        earliest: Step from which on it may have been there already; None: `first_step`.
    """

    detector: str
    severity: Severity
    message: str
    advice: str
    layer: str | None = None
    layers: tuple[str, ...] = ()
    first_step: int | None = None
    last_step: int | None = None
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)
    consequence_of: str | None = None
    rules_out: frozenset[str] = frozenset()
    also_causes: frozenset[str] = frozenset()
    earliest: int | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Json]) -> "Finding":
        """The finding that `to_json` wrote."""
        layers, evidence = row["layers"], row["evidence"]
        return cls(
            detector=str(row["detector"]),
            severity=Severity(str(row["severity"])),
            message=str(row["message"]),
            advice=str(row["advice"]),
            layer=json_text(row["layer"]),
            layers=tuple(str(layer) for layer in layers) if isinstance(layers, list) else (),
            first_step=json_integer(row["first_step"]),
            last_step=json_integer(row["last_step"]),
            value=json_number(row["value"]),
            threshold=json_number(row["threshold"]),
            unit=json_text(row["unit"]) or "",
            evidence=evidence if isinstance(evidence, Mapping) else {},
            consequence_of=json_text(row["consequence_of"]),
        )

    def to_json(self) -> dict[str, Json]:
        """The finding object of `diagnose --json`."""
        return {
            "detector": self.detector,
            "severity": self.severity,
            "layer": self.layer,
            "layers": self.layers,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "value": self.value,
            "threshold": self.threshold,
            "unit": self.unit,
            "message": self.message,
            "advice": self.advice,
            "evidence": self.evidence,
            "consequence_of": self.consequence_of,
        }
