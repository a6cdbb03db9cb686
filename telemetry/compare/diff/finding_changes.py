"""Findings that only the candidate has, and those that only the base has."""

from collections.abc import Iterable, Sequence

from telemetry.diagnose.finding import Finding

Findings = Sequence[Finding]


def finding_changes(
    base: Sequence[Findings], candidate: Sequence[Findings]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """New and fixed findings by detector, worst first.

    A group has a finding if more than half of its runs have it; the worst of them stands for it.

    Args:
        base: Findings of each run of the base.
        candidate: The same of the candidate.
    """
    before, after = _typical(base), _typical(candidate)
    return _without(after, before), _without(before, after)


def _typical(runs: Sequence[Findings]) -> tuple[Finding, ...]:
    detectors = dict.fromkeys(finding.detector for run in runs for finding in run)
    found: list[Finding] = []
    for detector in detectors:
        same = [finding for run in runs for finding in run if finding.detector == detector]
        if 2 * len(same) > len(runs):
            found.append(min(same, key=lambda finding: finding.severity.rank))
    return tuple(sorted(found, key=lambda finding: finding.severity.rank))


def _without(findings: Iterable[Finding], others: Findings) -> tuple[Finding, ...]:
    known = {finding.detector for finding in others}
    return tuple(finding for finding in findings if finding.detector not in known)
