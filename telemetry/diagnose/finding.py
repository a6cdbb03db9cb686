"""What a diagnosis says: findings, and for every other detector that it passed or why not."""

from dataclasses import asdict, dataclass, field

from telemetry.finding import Finding, Severity
from telemetry.in_notebooks import ShownInNotebooks
from telemetry.json_values import Json
from telemetry.store.runs.run import Run

__all__ = ["Diagnosis", "Finding", "NotChecked", "Outlook", "Severity", "Suppressed"]


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
class Outlook:
    """How far a run came.

    Attributes:
        grade: What it fails to reach: none, little, fails, broken, unknown or unmeasured.
        gained: Share of what there was to gain over the best constant answer, on training data or
            on an evaluation, whichever says more; None where no level is known.
        text: The same in a sentence; '' for a run that learns.
        suspects: Where the run fails and no finding explains it: rules that told something of it
            as information, in the order to look.
        unlooked: Then also rules that might have explained it, and could not judge.
    """

    grade: str = "unknown"
    gained: float | None = None
    text: str = ""
    suspects: tuple[str, ...] = ()
    unlooked: tuple[str, ...] = ()

    @property
    def misses(self) -> bool:
        """The run demonstrably gained nothing or little."""
        return self.grade in {"broken", "fails", "little"}

    def to_json(self) -> dict[str, Json]:
        """`outlook` in `diagnose --json`."""
        return {
            "grade": self.grade,
            "gained": self.gained,
            "text": self.text,
            "suspects": self.suspects,
            "unlooked": self.unlooked,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(ShownInNotebooks):
    """All outcomes for one run: roots first, each followed by its consequences.

    `outlook` says how far the run came; `state` is the progress state (learning, converged,
    stalled, diverged, unknown); `n_steps` and `n_samples` say how much was seen. `suppressed`
    findings are not among `findings`; a consequence of one of them still names it in
    `consequence_of`. `run` is what was diagnosed; a record of outcomes alone has none.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]
    state: str
    n_steps: int
    n_samples: int
    suppressed: tuple[Suppressed, ...] = ()
    outlook: Outlook = Outlook()
    run: Run | None = field(default=None, compare=False, repr=False)

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
            "outlook": self.outlook.to_json(),
        }

    def outcomes(self) -> dict[str, Json]:
        """What a run keeps of it besides the findings."""
        return {
            **{name: value for name, value in self.to_json().items() if name != "findings"},
            "order": [finding.detector for finding in self.findings],
            "not_checked": [asdict(entry) for entry in self.not_checked],
            "n_steps": self.n_steps,
            "n_samples": self.n_samples,
        }

    def counts(self) -> dict[str, Json]:
        """`{error, warning, info}` as manifests and the run list keep them."""
        return {
            severity: sum(finding.severity is severity for finding in self.findings)
            for severity in Severity
        }
