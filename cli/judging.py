"""The diagnosis of a run by the default rules, kept in the run so that lists show its counts."""

from typing import TYPE_CHECKING

import telemetry

if TYPE_CHECKING:
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
