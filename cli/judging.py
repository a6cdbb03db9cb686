"""The diagnosis of a run by the default rules, kept in the run so that lists show its counts."""

from typing import TYPE_CHECKING

import telemetry
from telemetry.cli.progress import tracked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.diagnose.finding import Diagnosis
    from telemetry.store.catalog import Run


def judged(store: "telemetry.Store", run: "Run") -> "Diagnosis":
    """What every rule says about a run; a run that has ended keeps the findings."""
    from telemetry.diagnose.diagnose import options_hash, rules_version  # noqa: PLC0415 - duckdb
    from telemetry.store.findings_cache import store_findings  # noqa: PLC0415 - pyarrow

    diagnosis = telemetry.diagnose_run(store, run)
    store_findings(
        run,
        [finding.to_json() for finding in diagnosis.findings],
        detector_version=rules_version(),
        options_hash=options_hash(None, {}),
    )
    return diagnosis


def judge_all(store: "telemetry.Store", runs: "Sequence[Run]") -> None:
    """Every run that has ended gets its findings, as far as it lacks them; a bar says how far."""
    from telemetry.diagnose.diagnose import ensure_findings  # noqa: PLC0415 - duckdb

    for run in tracked(runs, "diagnosing"):
        ensure_findings(store, [run])
