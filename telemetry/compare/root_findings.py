"""Root causes of many runs, from stored diagnoses where they hold."""

from collections.abc import Mapping

from telemetry.diagnose.diagnose import diagnose_run, options_hash, rules_version
from telemetry.diagnose.finding import Severity
from telemetry.json_values import Json
from telemetry.store.catalog import Run
from telemetry.store.findings_cache import read_findings, store_findings
from telemetry.store.store import Store

FAILING = frozenset({Severity.ERROR, Severity.WARNING})


def root_detectors(store: Store, run: Run) -> frozenset[str]:
    """Detectors whose finding on the run is an error or a warning and no consequence of another.

    A diagnosis that had to be made is kept for the next question.

    Raises:
        StoreUnreadable: the run cannot be read.
    """
    keys = {"detector_version": rules_version(), "options_hash": options_hash(None, {})}
    rows, holds = read_findings(run, **keys)
    if not holds:
        rows = [finding.to_json() for finding in diagnose_run(store, run).findings]
        store_findings(run, rows, **keys)
    return frozenset(str(row["detector"]) for row in rows if _is_root(row))


def _is_root(row: Mapping[str, Json]) -> bool:
    return row["severity"] in FAILING and row["consequence_of"] is None
