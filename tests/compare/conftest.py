"""What comparisons are tested without: the diagnosis of each run, which has its own tests."""

import pytest

from telemetry.compare.diff import read_side
from telemetry.diagnose.finding import Finding


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Finding, ...]]:
    """Findings by run id that stand in for a diagnosis, none by default: it has its own tests."""
    findings: dict[str, tuple[Finding, ...]] = {}
    monkeypatch.setattr(read_side, "findings_of", lambda _, run, __: findings.get(run.run, ()))
    return findings
