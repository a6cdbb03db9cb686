"""What a user wants of the diagnosis: other limits, rules switched off, findings that are accepted.

A suppression silences the finding that it names and nothing else. Causes are decided before: what
follows from a suppressed root stays on the screen as its consequence, and counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from telemetry.diagnose.finding import Finding, Severity, Suppressed
from telemetry.json_values import Json

CAPPED_KEY = "severity_before_cap"  # of a finding's evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNames:
    """The names by which a run is chosen: id, short id, name, `project/name`; and its tags."""

    names: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """A finding that is known and accepted.

    Attributes:
        detector: Id of the rule.
        reason: Why; it is shown.
        by: Who says so: the name of a file, or a tag.
        layer: Pattern that all layers of the finding fit; None: any, and findings of no layer.
        run: Pattern of the run's id, short id, name or `project/name`; None: any.
        tag: Pattern of one of the run's tags; None: any, and none.
    """

    detector: str
    reason: str
    by: str
    layer: str | None = None
    run: str | None = None
    tag: str | None = None

    def fits(self, finding: Finding, run: RunNames) -> bool:
        """Whether a finding of a run is meant; one that goes beyond the layers named is not."""
        if finding.detector != self.detector:
            return False
        layers = finding.layers or (() if finding.layer is None else (finding.layer,))
        return (
            (self.layer is None or (bool(layers) and _all_fit(layers, self.layer)))
            and (self.run is None or _any_fits(run.names, self.run))
            and (self.tag is None or _any_fits(run.tags, self.tag.lower()))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to judge; the default is every rule at its own limits.

    Attributes:
        limits: Parameters that differ from the defaults, by detector id.
        disabled: Rules that are not applied, and who says so. They are no causes either.
        caps: Worst severity that a rule's finding may have.
        suppressions: Findings that are accepted; the first that fits counts.
    """

    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    caps: Mapping[str, Severity] = field(default_factory=dict)
    suppressions: tuple[Suppression, ...] = ()

    @property
    def detectors(self) -> frozenset[str]:
        """Every rule that is named."""
        accepted = (entry.detector for entry in self.suppressions)
        return frozenset({*self.limits, *self.disabled, *self.caps, *accepted})

    def identity(self) -> Json:
        """What tells two policies apart, whatever the order of their entries."""
        limits = {name: dict(sorted(self.limits[name].items())) for name in sorted(self.limits)}
        accepted = [
            [entry.detector, entry.reason, entry.by, entry.layer, entry.run, entry.tag]
            for entry in self.suppressions
        ]
        return [limits, sorted(self.disabled), sorted(self.caps.items()), accepted]

    def settle(
        self, findings: Sequence[Finding], run: RunNames, *, tags: Sequence[Suppression] = ()
    ) -> tuple[tuple[Finding, ...], tuple[Suppressed, ...]]:
        """Findings in the order of causes, as the user wants them, and those that are accepted.

        Args:
            findings: Roots first, each followed by its consequences.
            run: The names and tags of the run.
            tags: What the run's own tags silence.
        """
        kept: list[Finding] = []
        accepted: list[Suppressed] = []
        for finding in findings:
            fitting = [s for s in (*tags, *self.suppressions) if s.fits(finding, run)]
            if fitting:
                by = fitting[0]
                accepted.append(Suppressed(finding=finding, reason=by.reason, by=by.by))
            else:
                kept.append(self._capped(finding))
        return _regrouped(kept), tuple(accepted)

    def _capped(self, finding: Finding) -> Finding:
        cap = self.caps.get(finding.detector)
        if cap is None or finding.severity.rank >= cap.rank:
            return finding
        evidence = {**finding.evidence, CAPPED_KEY: finding.severity}
        return replace(finding, severity=cap, evidence=evidence)


DEFAULT_POLICY = Policy()


def _regrouped(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What is information goes last: among the consequences of a cause, and whole groups."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.consequence_of or finding.detector, []).append(finding)
    for cause, group in groups.items():
        group.sort(key=lambda f: (f.detector != cause, _is_info(f)))
    ordered = sorted(groups.values(), key=lambda group: all(map(_is_info, group)))
    return tuple(finding for group in ordered for finding in group)


def _is_info(finding: Finding) -> bool:
    return finding.severity is Severity.INFO


def _all_fit(names: Sequence[str], pattern: str) -> bool:
    return all(fnmatchcase(name, pattern) for name in names)


def _any_fits(names: Sequence[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)
