"""Verdicts of experiments as a run keeps them: table `tries`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from telemetry.errors import StoreUnreadable
from telemetry.format.runs import new_run_id
from telemetry.json_values import Json
from telemetry.store.results import append_once
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue, as_float, as_text
from telemetry.store.store import Store
from telemetry.trials.result import Outcome, Tries, answers_finding

TABLE = "tries"
TRIES_SQL = """
SELECT
    dose,
    treats,
    verdict,
    metric,
    step,
    n_seeds,
    n_better,
    control,
    treated,
    ci_low,
    ci_high,
    finding_gone,
    written_at
FROM tries
WHERE run = $run
ORDER BY
    written_at,
    dose
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTry:
    """The newest verdict on one remedy."""

    dose: str
    treats: str | None
    verdict: str
    metric: str
    step: int | None
    n_seeds: int
    n_better: int
    control: float
    treated: float
    ci_low: float
    ci_high: float
    finding_gone: bool | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the remedy helps."""
        return self.verdict == Outcome.CONFIRMED

    @property
    def answers_finding(self) -> bool:
        """It is confirmed and undoes a finding of the run; else what it brings is a gain."""
        return answers_finding(self.verdict, self.treats, gone=self.finding_gone)

    def to_json(self) -> dict[str, Json]:
        """An entry of `tries` in `diagnose --json`."""
        fields = {**asdict(self), "answers_finding": self.answers_finding}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in fields.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TriesOfRun:
    """The newest verdicts on a run, one a remedy, in the order of `stored_tries`."""

    run: Run
    tries: Sequence[StoredTry]


def tries_of(store: Store, runs: Sequence[Run]) -> Sequence[TriesOfRun]:
    """Of those runs on which remedies were tried."""
    found = [TriesOfRun(run=run, tries=stored_tries(store, run)) for run in runs]
    return [one for one in found if one.tries]


def keep_tries(run: Run, tries: Tries) -> Tries:
    """Store verdicts with their run; what comes back says whether that was possible."""
    now = datetime.now(UTC)
    identity, moment = new_run_id(now), now.replace(tzinfo=None)
    rows = [
        {
            **{name: _finite(value) for name, value in one.to_json().items()},
            "try_id": identity,
            "verdict": str(one.outcome),
            "new_findings": json.dumps(list(one.new_findings)),
            "replay_steps": tries.steps,
            "written_at": moment,
        }
        for one in tries.tried
    ]
    if not rows:
        return tries
    try:
        append_once(run.ref.path, TABLE, rows, identity="try_id")
    except StoreUnreadable:
        return replace(tries, kept=False)
    return tries


def stored_tries(store: Store, run: Run) -> Sequence[StoredTry]:
    """The newest verdict on each remedy that was tried on a run, by remedy."""
    if not (run.ref.path / TABLE).is_dir():  # of nearly every run: no session is opened for it
        return ()
    with store.session([run]) as session:
        rows = session.query(TRIES_SQL, {"run": run.run}).records()
    newest = {as_text(row["dose"]): _stored(row) for row in rows}
    return [newest[dose] for dose in sorted(newest)]


def _stored(row: Mapping[str, SqlValue]) -> StoredTry:
    step, gone = row["step"], row["finding_gone"]
    return StoredTry(
        dose=as_text(row["dose"]),
        treats=None if row["treats"] is None else as_text(row["treats"]),
        verdict=as_text(row["verdict"]),
        metric=as_text(row["metric"]),
        step=step if isinstance(step, int) else None,
        n_seeds=_count(row["n_seeds"]),
        n_better=_count(row["n_better"]),
        control=as_float(row["control"]),
        treated=as_float(row["treated"]),
        ci_low=as_float(row["ci_low"]),
        ci_high=as_float(row["ci_high"]),
        finding_gone=gone if isinstance(gone, bool) else None,
    )


def _count(value: SqlValue) -> int:
    return value if isinstance(value, int) else 0


def _finite(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value
