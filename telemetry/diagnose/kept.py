"""A diagnosis made again of what a run keeps of it: its findings and its other outcomes."""

from collections.abc import Mapping

from telemetry.diagnose.finding import Diagnosis, Finding, NotChecked, Outlook, Suppressed
from telemetry.json_values import (
    Json,
    json_integer,
    json_list,
    json_number,
    json_objects,
    json_text,
)
from telemetry.store.runs.findings_cache import StoredDiagnosis
from telemetry.store.runs.run import Run


def kept_findings(kept: StoredDiagnosis) -> tuple[Finding, ...]:
    """The findings, causes before what they lead to, as far as the order is kept."""
    order = [str(name) for name in json_list((kept.outcomes or {}).get("order"))]
    places = {name: place for place, name in enumerate(order)}
    found = [Finding.from_json(row) for row in kept.rows]
    return tuple(sorted(found, key=lambda one: places.get(one.detector, len(places))))


def kept_diagnosis(kept: StoredDiagnosis, run: Run) -> Diagnosis | None:
    """The whole diagnosis; None where only its findings are kept."""
    outcomes = kept.outcomes
    if outcomes is None:
        return None
    return Diagnosis(
        findings=kept_findings(kept),
        passed=_texts(outcomes.get("passed")),
        not_checked=tuple(
            NotChecked(
                detector=str(entry.get("detector")),
                reason=str(entry.get("reason")),
                absent=entry.get("absent") is True,
            )
            for entry in json_objects(outcomes.get("not_checked"))
        ),
        state=str(outcomes.get("state")),
        n_steps=json_integer(outcomes.get("n_steps")) or 0,
        n_samples=json_integer(outcomes.get("n_samples")) or 0,
        suppressed=tuple(
            Suppressed(
                finding=Finding.from_json(entry),
                reason=str(entry.get("reason")),
                by=str(entry.get("by")),
            )
            for entry in json_objects(outcomes.get("suppressed"))
        ),
        outlook=_outlook(outcomes.get("outlook")),
        run=run,
    )


def _outlook(found: Json) -> Outlook:
    if not isinstance(found, Mapping):
        return Outlook()
    return Outlook(
        grade=json_text(found.get("grade")) or "unknown",
        gained=json_number(found.get("gained")),
        text=json_text(found.get("text")) or "",
        suspects=_texts(found.get("suspects")),
        unlooked=_texts(found.get("unlooked")),
    )


def _texts(found: Json) -> tuple[str, ...]:
    return tuple(map(str, json_list(found)))
