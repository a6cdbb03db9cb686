"""Definitions of hypotheses as runs keep them, and how far each holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from telemetry.evaluate.hypothesis_testing.file import parse_hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import ACCURACY, ERROR, Hypothesis, Kind
from telemetry.evaluate.hypothesis_testing.measures import mean_of
from telemetry.evaluate.statistics.paired import DEFAULT_Q, foreseeable_drop
from telemetry.evaluate.stored.evaluations import (
    PLAIN,
    StoredEvaluation,
    of_newest_checkpoint,
    stored_evaluations,
)
from telemetry.json_values import Json
from telemetry.store.results import append_once
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import as_text
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store

DEFINITIONS_SQL = """
SELECT
    project,
    run,
    name,
    definition,
    written_at
FROM hypotheses
ORDER BY written_at DESC, project, run, name
"""
VERDICTS_SQL = """
SELECT
    hypothesis,
    project,
    run,
    verdict,
    written_at
FROM hypothesis_results
ORDER BY written_at, project, run, hypothesis
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A hypothesis and how it stands.

    Attributes:
        hypothesis: Its definition.
        n_runs: Runs that were evaluated on it.
        run: The run evaluated last; None where none was.
        n: Examples of that evaluation.
        value: Its metric, NaN where unknown.
        holds: Whether the expectation is met; None where that cannot be said.
        verdict: Of the last comparison, '' without one.
        detectable_drop: Smallest change that a comparison could see, if 5 % of the answers differ
            and seeds do not; NaN for numbers.
    """

    hypothesis: Hypothesis
    n_runs: int
    run: Run | None
    n: int
    value: float
    holds: bool | None
    verdict: str
    detectable_drop: float = math.nan

    def to_json(self) -> Mapping[str, Json]:
        """An entry of `hypotheses list --json`."""
        return {
            **self.hypothesis.to_row(),
            "n_runs": self.n_runs,
            "run": self.run.run if self.run else None,
            "n": self.n,
            "value": None if math.isnan(self.value) else self.value,
            "holds": self.holds,
            "verdict": self.verdict or None,
            "detectable_drop": None if math.isnan(self.detectable_drop) else self.detectable_drop,
        }


def stored_hypotheses(session: Session, runs: Sequence[Run]) -> list[Hypothesis]:
    """The newest definition of each name, of the first run that has it, by name.

    Raises:
        UsageError: a stored definition is wrong.
    """
    rows = session.query(DEFINITIONS_SQL).records()
    found: dict[str, Hypothesis] = {}
    for run in runs:
        for row in rows:
            name = as_text(row["name"])
            is_of = (row["project"], row["run"]) == (run.ref.project, run.run)
            if is_of and name not in found:
                (found[name],) = parse_hypotheses(as_text(row["definition"]), run.run)
    return [found[name] for name in sorted(found)]


def keep_definitions(run: Path, hypotheses: Sequence[Hypothesis]) -> None:
    """Store definitions in a run, those that it has not yet.

    Raises:
        StoreUnreadable: the run's folder cannot be written.
    """
    moment = datetime.now(UTC).replace(tzinfo=None)
    for hypothesis in hypotheses:
        row = {**hypothesis.to_row(), "written_at": moment}
        append_once(run, "hypotheses", [row], identity="digest")


def list_hypotheses(
    store: Store,
    runs: Sequence[Run],
    hypotheses: Sequence[Hypothesis] = (),
    checkpoint: str | None = None,
) -> list[Listed]:
    """Hypotheses of a file and of stored runs by name, each with the newest run's result.

    Args:
        store: Where the runs lie.
        runs: Runs to look at.
        hypotheses: Definitions of a file; they replace stored ones of the same name.
        checkpoint: The weights that are meant; None: the newest of the run that was judged last.
    """
    with store.session(runs) as session:
        newest_first = sorted(runs, key=lambda run: run.started, reverse=True)
        known = {h.name: h for h in (*stored_hypotheses(session, newest_first), *hypotheses)}
        evaluations = [
            entry for entry in stored_evaluations(session) if checkpoint in {None, entry.checkpoint}
        ]
        rows = session.query(VERDICTS_SQL).records()
        verdicts = {as_text(row["hypothesis"]): as_text(row["verdict"]) for row in rows}
        listed = [
            _listed(session, known[name], evaluations, verdicts.get(name, ""))
            for name in sorted(known)
        ]
    return [replace(entry, detectable_drop=_drop(entry, len(listed))) for entry in listed]


def _drop(entry: Listed, n_hypotheses: int) -> float:
    is_share = entry.hypothesis.expect.metric in {ACCURACY, ERROR}
    if not is_share or not entry.n:
        return math.nan
    return foreseeable_drop(entry.n, DEFAULT_Q / n_hypotheses)


def _listed(
    session: Session,
    hypothesis: Hypothesis,
    evaluations: Sequence[StoredEvaluation],
    verdict: str,
) -> Listed:
    own = [
        e for e in evaluations if (e.dataset, e.hypothesis) == (hypothesis.base, hypothesis.name)
    ]
    plain = [e for e in evaluations if (e.dataset, e.hypothesis) == (hypothesis.base, PLAIN)]
    is_part = not own and hypothesis.kind is Kind.SUBSET
    used = plain if is_part else own
    if not used:
        return Listed(
            hypothesis=hypothesis,
            n_runs=0,
            run=None,
            n=0,
            value=math.nan,
            holds=None,
            verdict=verdict,
        )
    of_last_run = [entry for entry in used if entry.run.ref == used[-1].run.ref]
    newest = of_newest_checkpoint(of_last_run)[-1]
    metric, tolerance = hypothesis.expect.metric, hypothesis.tolerance
    where = hypothesis.where if is_part else None
    n, value = mean_of(session, newest, metric, where=where, tolerance=tolerance)
    base = _base_value(session, hypothesis, newest, plain)
    unknown = math.isnan(value) or (hypothesis.expect.is_relative and math.isnan(base))
    too_few = n < hypothesis.min_size
    return Listed(
        hypothesis=hypothesis,
        n_runs=len({entry.run.ref.path for entry in used}),
        run=newest.run,
        n=n,
        value=value,
        holds=None if unknown or too_few else hypothesis.expect.holds(value, base),
        verdict=verdict,
    )


def _base_value(
    session: Session,
    hypothesis: Hypothesis,
    judged: StoredEvaluation,
    plain: Sequence[StoredEvaluation],
) -> float:
    """What a relative expectation is held against, NaN where that is not known or not asked for."""
    starts_from_itself = hypothesis.kind is Kind.MIN  # and is never worse than that
    if not hypothesis.expect.is_relative or starts_from_itself:
        return math.nan
    if hypothesis.unchanged_value is not None:
        return hypothesis.unchanged_value
    of_base = [e for e in plain if (e.run.ref, e.checkpoint) == (judged.run.ref, judged.checkpoint)]
    if not of_base:
        return math.nan
    metric, tolerance = hypothesis.expect.metric, hypothesis.tolerance
    return mean_of(session, of_base[-1], metric, tolerance=tolerance)[1]
