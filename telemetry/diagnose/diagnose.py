"""diagnose_run: every detector over one run, findings ordered by cause."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.causes import cause_graph, ordered
from telemetry.diagnose.context import ABSENT, RunContext, load_context
from telemetry.diagnose.detector import Detector, Tier, Verdict, all_detectors, find_detector
from telemetry.diagnose.finding import Diagnosis, Finding, NotChecked, Outlook
from telemetry.diagnose.identity import options_hash, rules_version
from telemetry.diagnose.kept import kept_diagnosis, kept_findings
from telemetry.diagnose.outlook import outlook
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy, RunNames
from telemetry.diagnose.tag_meanings import suppressions
from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.format.manifest import Status
from telemetry.store.runs.findings_cache import StoredDiagnosis, read_findings, store_findings
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store


def diagnose_run(
    store: Store,
    run: Run,
    *,
    detectors: Sequence[str] | None = None,
    since: int | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> Diagnosis:
    """What is wrong with a run, and for every rule that is silent, why.

    Args:
        store: The store that holds the run.
        run: The run.
        detectors: Ids of the rules to apply; None is all. Causes are sought among these, and
            those that have nothing to act on describe the run.
        since: Findings that ended before this step count as passed.
        policy: Other limits, rules switched off, findings that are accepted; `load_policy()` gives
            that of the settings file.

    Raises:
        UsageError: a detector or a parameter is unknown, or its value makes no sense.
        StoreUnreadable: the run's manifest cannot be read.
    """
    chosen = _chosen(detectors)
    bounds = _bounds(chosen, policy)
    if run.manifest is None:
        raise StoreUnreadable(f"run {run.run}: {run.reason}")
    # Runs that blow up hold values near the largest float: ratios may overflow, and say so.
    opened = store.session([run], many_statements=True)
    with opened as session, np.errstate(all="ignore"):
        context = load_context(
            session,
            run.run,
            tags=run.tags,
            total_steps=run.manifest.total_steps,
            finished=run.status is Status.FINISHED,
        )
        verdicts = {
            detector.id: _off(detector, policy)
            or graded(
                _verdict(session, detector, context, bounds[detector.id]),
                detector,
                context,
                asked=detectors is not None,
            )
            for detector in chosen
        }
    diagnosis = _assembled(chosen, verdicts, context, since=since)
    if detectors is None:  # some rules alone cannot say that nothing explains a failing run
        diagnosis = replace(diagnosis, outlook=_outlook(diagnosis, context, policy))
    found, accepted = policy.settle(
        diagnosis.findings, _run_names(run), tags=suppressions(run.tags)
    )
    return replace(diagnosis, findings=found, suppressed=accepted, run=run)


def diagnose_and_keep(store: Store, run: Run, policy: Policy = DEFAULT_POLICY) -> Diagnosis:
    """What every rule says about a run by a policy; a run that has ended keeps the findings.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    diagnosis = diagnose_run(store, run, policy=policy)
    rows = [finding.to_json() for finding in diagnosis.findings]
    store_findings(run, rows, outcomes=diagnosis.outcomes(), **_cache_keys(policy))
    return diagnosis


def diagnosis_of(store: Store, run: Run, policy: Policy = DEFAULT_POLICY) -> Diagnosis:
    """What every rule says about a run: as it is kept where that holds, else anew.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    kept = _kept(run, policy)
    found = None if kept is None else kept_diagnosis(kept, run)
    return diagnose_and_keep(store, run, policy) if found is None else found


def findings_of(store: Store, run: Run, policy: Policy = DEFAULT_POLICY) -> tuple[Finding, ...]:
    """All findings of a run: those it keeps where they hold, else of a new diagnosis.

    Raises:
        StoreUnreadable: the run's manifest cannot be read.
    """
    kept = _kept(run, policy)
    return diagnose_and_keep(store, run, policy).findings if kept is None else kept_findings(kept)


def ensure_findings(store: Store, runs: Sequence[Run], policy: Policy = DEFAULT_POLICY) -> None:
    """Fill the cache of findings for closed runs that have no valid one.

    A run that cannot be read or diagnosed keeps its former state: a listing shows it as not
    diagnosed.
    """
    for run in runs:
        if run.manifest is not None and run.status is not Status.RUNNING:
            with suppress(TelemetryError):
                findings_of(store, run, policy)


def _kept(run: Run, policy: Policy) -> StoredDiagnosis | None:
    """What a run keeps of its diagnosis by a policy; None where that does not hold."""
    keys = _cache_keys(policy)
    kept = read_findings(run, **keys)
    if kept is not None and not kept.is_newest:  # lists and queries show the policy asked last
        store_findings(run, kept.rows, outcomes=kept.outcomes, **keys)
    return kept


def _cache_keys(policy: Policy) -> dict[str, str]:
    return {"detector_version": rules_version(), "options_hash": options_hash(None, policy)}


def _run_names(run: Run) -> RunNames:
    names = (run.run, run.short, run.name, f"{run.project}/{run.name}")
    return RunNames(names=names, tags=tuple(tag.lower() for tag in run.tags))


def _chosen(names: Sequence[str] | None) -> tuple[Detector, ...]:
    if names is None:
        return all_detectors()
    found = {detector.id: detector for detector in map(find_detector, names)}
    return tuple(found[name] for name in sorted(found))


def _bounds(chosen: Sequence[Detector], policy: Policy) -> dict[str, dict[str, float]]:
    for name in policy.detectors:
        find_detector(name)
    overrides = {find_detector(name).id: values for name, values in policy.limits.items()}
    return {detector.id: detector.limits(overrides.get(detector.id, {})) for detector in chosen}


def _off(detector: Detector, policy: Policy) -> NotChecked | None:
    by = policy.disabled.get(detector.id)
    reason = f"switched off in {by}"
    return None if by is None else NotChecked(detector=detector.id, reason=reason)


def _verdict(
    session: Session, detector: Detector, context: RunContext, limits: Mapping[str, float]
) -> Verdict:
    missing = [need for need in detector.needs if need not in context.available]
    if missing:
        need = missing[0]
        return NotChecked(detector=detector.id, reason=need.remedy, absent=need in ABSENT)
    try:
        rows = session.query(detector.sql, detector.bound(context.run, limits))
        return detector.judge(rows, context, limits)
    except TelemetryError:
        raise
    except Exception as error:  # noqa: BLE001 - a rule that fails must not silence forty others
        failure = f"({type(error).__name__}: {error}), which is a bug in telemetry"
        warnings.warn(f"the rule {detector.id} failed {failure}", RuntimeWarning, stacklevel=2)
        return NotChecked(detector=detector.id, reason=f"the rule failed {failure}")


def graded(
    verdict: Verdict, detector: Detector, context: RunContext, *, asked: bool
) -> Finding | NotChecked | None:
    """What a rule says of a run, with its severity.

    Args:
        verdict: Of the rule; of several candidates the gravest counts.
        detector: The rule.
        context: The run.
        asked: The rule was asked for by name, so a description of the run is told as well.
    """
    if isinstance(verdict, Description):
        verdict = verdict.candidate if asked else None
    if verdict is None or isinstance(verdict, (NotChecked, Finding)):
        return verdict
    found = [verdict] if isinstance(verdict, Candidate) else verdict
    graded = [candidate.finding(detector.id, context.harm) for candidate in found]
    return min(graded, key=lambda finding: finding.severity.rank, default=None)


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
        findings=ordered(findings, cause_graph(), tier_ranks=ranks, period=context.sampling_period),
        passed=tuple(name for name in verdicts if name not in silent),
        not_checked=not_checked,
        state=context.state,
        n_steps=context.n_steps,
        n_samples=int(context.sampled_steps.size),
    )


def _outlook(diagnosis: Diagnosis, context: RunContext, policy: Policy) -> Outlook:
    return outlook(
        context.reach,
        context.outcome,
        context.baseline,
        n_losses=int(context.losses.size),
        findings=diagnosis.findings,
        # who switches a rule off does not want to hear that it could not look
        not_checked=[e for e in diagnosis.not_checked if e.detector not in policy.disabled],
        graph=cause_graph(),
    )


def _over(finding: Finding, since: int | None) -> bool:
    return since is not None and finding.last_step is not None and finding.last_step < since
