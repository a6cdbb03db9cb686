"""What a diagnosis says: findings, and for every other detector that it passed or why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from telemetry.json_values import Json


class Severity(StrEnum):
    """How much a finding matters; `info` never counts for an exit code."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One detector's verdict on a run; at most one per detector and run.

    `layer` is the worst layer (module path), or a parameter's name for findings about one
    parameter, or None for findings about the run; `value` and `threshold` are in `unit`.
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

    @classmethod
    def from_json(cls, row: Mapping[str, Json]) -> "Finding":
        """The finding that `to_json` wrote."""
        layers, evidence = row["layers"], row["evidence"]
        return cls(
            detector=str(row["detector"]),
            severity=Severity(str(row["severity"])),
            message=str(row["message"]),
            advice=str(row["advice"]),
            layer=_text(row["layer"]),
            layers=tuple(str(layer) for layer in layers) if isinstance(layers, list) else (),
            first_step=_whole(row["first_step"]),
            last_step=_whole(row["last_step"]),
            value=_number(row["value"]),
            threshold=_number(row["threshold"]),
            unit=_text(row["unit"]) or "",
            evidence=evidence if isinstance(evidence, Mapping) else {},
            consequence_of=_text(row["consequence_of"]),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NotChecked:
    """A detector that could not judge.

    Attributes:
        detector: Its id.
        reason: What is missing, and how to get it.
        absent: As far as was seen, the run has nothing of what it judges: no attention, no scaler.
    """

    detector: str
    reason: str
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """A finding that a settings file or a tag of the run accepts.

    Attributes:
        finding: As it would have been shown.
        reason: Why it is accepted.
        by: Who says so: the name of a file, or a tag.
    """

    finding: Finding
    reason: str
    by: str

    def to_json(self) -> dict[str, Json]:
        """One entry of `suppressed` in `diagnose --json`."""
        return {**self.finding.to_json(), "reason": self.reason, "by": self.by}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All outcomes for one run: roots first, each followed by its consequences.

    `state` is the progress state (learning, converged, stalled, diverged,
    unknown); `n_steps` and `n_samples` say how much was seen. `suppressed` findings are not among
    `findings`; a consequence of one of them still names it in `consequence_of`.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]
    state: str
    n_steps: int
    n_samples: int
    suppressed: tuple[Suppressed, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Body of `diagnose --json`, without the `run` object."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "suppressed": [entry.to_json() for entry in self.suppressed],
            "passed": self.passed,
            "not_checked": [
                {"detector": entry.detector, "reason": entry.reason} for entry in self.not_checked
            ],
            "state": self.state,
        }

    def counts(self) -> dict[str, Json]:
        """`{error, warning, info}` as manifests and the run list keep them."""
        return {
            severity: sum(finding.severity is severity for finding in self.findings)
            for severity in Severity
        }


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None
