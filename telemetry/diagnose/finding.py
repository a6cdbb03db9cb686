"""What a diagnosis says: findings, and for every other detector that it passed or why not."""

from dataclasses import dataclass

from telemetry.finding import Finding, Severity
from telemetry.json_values import Json

__all__ = ["Diagnosis", "Finding", "NotChecked", "Severity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a rule that has passed can tell where it is asked for by name.

    One rule for information: it stands in a full diagnosis only where it names a change that is
    worth making, because the loss fails or has stopped to fall, or because work is wasted. All
    else is a description, or healthy runs would carry lines that nobody can act on.
    """

    finding: Finding


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
