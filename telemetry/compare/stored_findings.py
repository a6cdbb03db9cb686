"""Findings of runs, from stored diagnoses where they hold; a new diagnosis is kept."""

from collections.abc import Mapping, Sequence

from telemetry.diagnose.diagnose import diagnose_run, options_hash, rules_version
from telemetry.diagnose.finding import Finding, Severity
from telemetry.errors import StoreUnreadable
from telemetry.json_values import Json
from telemetry.store.catalog import Run
from telemetry.store.findings_cache import read_findings, store_findings
from telemetry.store.store import Store

FAILING = frozenset({Severity.ERROR, Severity.WARNING})


def findings_of(store: Store, run: Run) -> tuple[Finding, ...]:
    """All findings of a run.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    keys = {"detector_version": rules_version(), "options_hash": options_hash(None, {})}
    rows, holds = read_findings(run, **keys)
    if holds:
        return tuple(_finding(row) for row in rows)
    findings = diagnose_run(store, run).findings
    store_findings(run, [finding.to_json() for finding in findings], **keys)
    return findings


def roots_of_runs(
    store: Store, runs: Sequence[Run]
) -> list[tuple[Run, frozenset[str] | StoreUnreadable]]:
    """Detectors of the root causes of each run, or why the run could not be diagnosed.

    A root is an error or a warning that is no consequence of another finding.
    """
    found: list[tuple[Run, frozenset[str] | StoreUnreadable]] = []
    for run in runs:
        try:
            roots = [f for f in findings_of(store, run) if f.consequence_of is None]
        except StoreUnreadable as error:
            found.append((run, error))
        else:
            found.append((run, frozenset(f.detector for f in roots if f.severity in FAILING)))
    return found


def _finding(row: Mapping[str, Json]) -> Finding:
    layers, evidence = row["layers"], row["evidence"]
    return Finding(
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


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None
