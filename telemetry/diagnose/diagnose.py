"""diagnose_run: every detector over one run, findings ordered by cause."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from telemetry.diagnose.causes import ordered
from telemetry.diagnose.context import ABSENT, RunContext, load_context
from telemetry.diagnose.detector import Detector, Limits, Tier, all_detectors, find_detector
from telemetry.diagnose.finding import Diagnosis, Finding, NotChecked
from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.manifest import Status
from telemetry.store.catalog import Run
from telemetry.store.findings_cache import read_findings, store_findings
from telemetry.store.session import Session
from telemetry.store.store import Store

Overrides = Mapping[str, Limits]


def diagnose_run(
    store: Store,
    run: Run,
    *,
    detectors: Sequence[str] | None = None,
    since: int | None = None,
    limits: Overrides | None = None,
) -> Diagnosis:
    """What is wrong with a run, and for every rule that is silent, why.

    Args:
        store: The store that holds the run.
        run: The run.
        detectors: Ids of the rules to apply; None is all. Causes are sought among these.
        since: Findings that ended before this step count as passed.
        limits: Parameters that differ from the defaults, by detector id.

    Raises:
        UsageError: a detector or a parameter is unknown.
        StoreUnreadable: the run's manifest cannot be read.
    """
    chosen = _chosen(detectors)
    bounds = _bounds(chosen, limits or {})
    if run.manifest is None:
        raise StoreUnreadable(f"run {run.run}: {run.reason}")
    # Runs that blow up hold values near the largest float: ratios may overflow, and say so.
    with store.session([run]) as session, np.errstate(all="ignore"):
        context = load_context(
            session, run.run, tags=run.tags, total_steps=run.manifest.total_steps
        )
        verdicts = {
            detector.id: _verdict(session, detector, context, bounds[detector.id])
            for detector in chosen
        }
    return _assembled(chosen, verdicts, context, since=since)


def diagnose_and_keep(store: Store, run: Run) -> Diagnosis:
    """What every rule says about a run by default; a run that has ended keeps the findings.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    diagnosis = diagnose_run(store, run)
    store_findings(run, [finding.to_json() for finding in diagnosis.findings], **_cache_keys())
    return diagnosis


def findings_of(store: Store, run: Run) -> tuple[Finding, ...]:
    """All findings of a run: those it keeps where they hold, else of a new diagnosis.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    rows, holds = read_findings(run, **_cache_keys())
    if holds:
        return tuple(Finding.from_json(row) for row in rows)
    return diagnose_and_keep(store, run).findings


def ensure_findings(store: Store, runs: Sequence[Run]) -> None:
    """Fill the cache of findings for closed runs that have no valid one.

    A run that cannot be read or diagnosed keeps its former state: a listing shows it as not
    diagnosed.
    """
    for run in runs:
        if run.manifest is not None and run.status is not Status.RUNNING:
            with suppress(TelemetryError):
                findings_of(store, run)


def _cache_keys() -> dict[str, str]:
    return {"detector_version": rules_version(), "options_hash": options_hash(None, {})}


@cache
def rules_version() -> str:
    """Hash of the text of the rules: another text, another diagnosis."""
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def options_hash(detectors: Sequence[str] | None, limits: Overrides) -> str:
    """Hash of what was asked: the rules chosen and the parameters that differ."""
    asked = [
        None if detectors is None else sorted(detectors),
        {name: dict(sorted(values.items())) for name, values in sorted(limits.items())},
    ]
    return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


def _chosen(names: Sequence[str] | None) -> tuple[Detector, ...]:
    if names is None:
        return all_detectors()
    found = {detector.id: detector for detector in map(find_detector, names)}
    return tuple(found[name] for name in sorted(found))


def _bounds(chosen: Sequence[Detector], limits: Overrides) -> dict[str, dict[str, float]]:
    overrides = {find_detector(name).id: values for name, values in limits.items()}
    return {detector.id: detector.limits(overrides.get(detector.id, {})) for detector in chosen}


def _verdict(
    session: Session, detector: Detector, context: RunContext, limits: Limits
) -> Finding | NotChecked | None:
    missing = [need for need in detector.needs if need not in context.available]
    if missing:
        need = missing[0]
        return NotChecked(detector=detector.id, reason=need.remedy, absent=need in ABSENT)
    rows = session.query(detector.sql, detector.bound(context.run, limits))
    return detector.judge(rows, context, limits)


def _assembled(
    chosen: Sequence[Detector],
    verdicts: Mapping[str, Finding | NotChecked | None],
    context: RunContext,
    *,
    since: int | None,
) -> Diagnosis:
    ranks = {detector.id: list(Tier).index(detector.tier) for detector in chosen}
    findings = [
        verdict
        for verdict in verdicts.values()
        if isinstance(verdict, Finding) and not _over(verdict, since)
    ]
    found = {finding.detector for finding in findings}
    not_checked = tuple(v for v in verdicts.values() if isinstance(v, NotChecked))
    silent = found | {entry.detector for entry in not_checked}
    return Diagnosis(
        findings=ordered(findings, tier_ranks=ranks, period=context.sampling_period),
        passed=tuple(name for name in verdicts if name not in silent),
        not_checked=not_checked,
        state=context.progress.state,
        n_steps=context.n_steps,
        n_samples=int(context.sampled_steps.size),
    )


def _over(finding: Finding, since: int | None) -> bool:
    return since is not None and finding.last_step is not None and finding.last_step < since
