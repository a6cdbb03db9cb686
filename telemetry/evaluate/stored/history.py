"""How single examples fared while a run trained: learned late, forgotten, or surely wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from telemetry.configuration import nearest
from telemetry.errors import UsageError
from telemetry.evaluate.stored.evaluations import nothing_evaluated
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store

CONFIDENT = 0.9  # probability from which a wrong answer counts as sure

DATASETS_SQL = """
SELECT
    dataset,
    COUNT(DISTINCT step) AS n_steps
FROM example_evals
WHERE project = $project
    AND run = $run
    AND hypothesis = ''
GROUP BY dataset
ORDER BY n_steps DESC, dataset
"""
# Of several evaluations of a step (an attempt that was repeated) the one written last counts.
HISTORY_SQL = """
SELECT
    e.example_id,
    e.step,
    e.correct,
    e.confidence,
    e.loss,
    e.label,
    e.prediction
FROM example_evals AS e
JOIN (
    SELECT
        step,
        MAX(written_at) AS written_at
    FROM example_evals
    WHERE project = $project
        AND run = $run
        AND hypothesis = ''
        AND dataset = $dataset
    GROUP BY step
) AS newest
    ON newest.step = e.step
JOIN (
    SELECT
        eval_id,
        MAX(written_at) AS written_at
    FROM example_evals
    WHERE project = $project
        AND run = $run
        AND hypothesis = ''
        AND dataset = $dataset
    GROUP BY eval_id
) AS passes
    ON passes.eval_id = e.eval_id
    AND passes.written_at = newest.written_at
WHERE e.project = $project
    AND e.run = $run
    AND e.hypothesis = ''
    AND e.dataset = $dataset
ORDER BY e.example_id, e.step
"""
# Where no evaluation says its step: the one written last.
LAST_SQL = """
SELECT
    e.example_id,
    0 AS step,
    e.correct,
    e.confidence,
    e.loss,
    e.label,
    e.prediction
FROM example_evals AS e
JOIN (
    SELECT MAX(written_at) AS written_at
    FROM example_evals
    WHERE project = $project
        AND run = $run
        AND hypothesis = ''
        AND dataset = $dataset
) AS newest
    ON newest.written_at = e.written_at
WHERE e.project = $project
    AND e.run = $run
    AND e.hypothesis = ''
    AND e.dataset = $dataset
ORDER BY e.example_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """One example over the evaluations of a run.

    Attributes:
        example_id: Which.
        label: The truth.
        prediction: The last answer.
        learned: First step from which it was always answered rightly; None: not at the end.
        n_forgotten: How often a right answer became a wrong one.
        correct: Whether the last answer is right.
        confidence: Of the last answer, NaN where none is known.
        loss: Of the last answer.
    """

    example_id: str
    label: str
    prediction: str
    learned: int | None
    n_forgotten: int
    correct: bool
    confidence: float
    loss: float

    def to_json(self) -> dict[str, Json]:
        """As in `examples --json`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Every example of a data set over the evaluations of a run.

    `steps` is empty where none is known: then the last evaluation stands alone, and nothing is
    said of learning and forgetting.
    """

    run: Run
    dataset: str
    steps: tuple[int, ...]
    fates: tuple[Fate, ...]

    @property
    def late(self) -> list[Fate]:
        """Learned after half of the evaluations or more, the latest first."""
        if not self.steps:
            return []
        half = self.steps[len(self.steps) // 2]
        late = [f for f in self.fates if f.learned is not None and f.learned >= half]
        return sorted(late, key=lambda f: (-(f.learned or 0), f.example_id))

    @property
    def forgotten(self) -> list[Fate]:
        """Answered wrongly after a right answer, the most often first."""
        found = [fate for fate in self.fates if fate.n_forgotten]
        return sorted(found, key=lambda f: (-f.n_forgotten, f.example_id))

    @property
    def never(self) -> list[Fate]:
        """Wrong at the end, the largest loss first."""
        wrong = [fate for fate in self.fates if not fate.correct]
        return sorted(wrong, key=lambda f: (-np.nan_to_num(f.loss), f.example_id))

    @property
    def surely_wrong(self) -> list[Fate]:
        """Wrong at the end with a probability of 0.9 at least, the surest first."""
        sure = [fate for fate in self.never if fate.confidence >= CONFIDENT]
        return sorted(sure, key=lambda f: (-f.confidence, f.example_id))

    def to_json(self) -> dict[str, Json]:
        """Body of `examples --json`."""
        return {
            "run": self.run.run,
            "dataset": self.dataset,
            "steps": list(self.steps),
            "examples": [fate.to_json() for fate in self.fates],
            "late": [fate.example_id for fate in self.late],
            "forgotten": [fate.example_id for fate in self.forgotten],
            "wrong": [fate.example_id for fate in self.never],
            "surely_wrong": [fate.example_id for fate in self.surely_wrong],
        }


def read_history(store: Store, run: Run, *, dataset: str | None = None) -> History:
    """How each example of a data set fared.

    Args:
        store: Where the run lies.
        run: The run.
        dataset: Name of the data set; None: the one that was evaluated at most steps.

    Raises:
        UsageError: the run was never evaluated, or not on such a data set, or nothing says what is
            right.
    """
    with store.session([run]) as session:
        chosen, n_steps = _chosen(session, run, dataset)
        sql = HISTORY_SQL if n_steps else LAST_SQL
        rows = session.query(sql, {**_keys(run), "dataset": chosen})
    known = np.isfinite(rows.floats("correct"))
    if not known.any():
        raise UsageError(
            f"{run.name} ({run.short}): it is not known which answers on {chosen} are right; "
            "give the data set labels or, for a regression, look at losses with `telemetry "
            f"slices {run.short}`."
        )
    fates = _fates(rows, known)
    if not n_steps:
        fates = [replace(fate, learned=None) for fate in fates]
    steps = tuple(int(step) for step in np.unique(rows.ints("step")[known])) if n_steps else ()
    return History(run=run, dataset=chosen, steps=steps, fates=tuple(fates))


def _chosen(session: Session, run: Run, dataset: str | None) -> tuple[str, int]:
    """The data set, and at how many steps it was evaluated."""
    rows = session.query(DATASETS_SQL, _keys(run))
    n_steps = dict(zip(rows.texts("dataset"), rows.ints("n_steps").tolist(), strict=True))
    if not n_steps:
        raise UsageError(nothing_evaluated(run))
    chosen = next(iter(n_steps)) if dataset is None else dataset
    if chosen not in n_steps:
        raise UsageError(f"data set {dataset!r} was not evaluated; {nearest(chosen, [*n_steps])}")
    return chosen, n_steps[chosen]


def _keys(run: Run) -> dict[str, str]:
    return {"project": run.ref.project, "run": run.run}


def _fates(rows: Rows, known: npt.NDArray[np.bool_]) -> Sequence[Fate]:
    ids, steps = rows.texts("example_id"), rows.ints("step")
    correct = rows.floats("correct") > 0
    confidence, loss = rows.floats("confidence"), rows.floats("loss")
    labels, predictions = rows.texts("label"), rows.texts("prediction")
    found: list[Fate] = []
    for name, places in groupby(np.flatnonzero(known).tolist(), key=ids.__getitem__):
        own = list(places)
        last = own[-1]
        right = correct[own]
        wrong = np.flatnonzero(~right)
        first = 0 if not wrong.size else int(wrong[-1]) + 1
        found.append(
            Fate(
                example_id=name,
                label=labels[last],
                prediction=predictions[last],
                learned=int(steps[own[first]]) if first < len(own) else None,
                n_forgotten=int(np.count_nonzero(right[:-1] & ~right[1:])),
                correct=bool(right[-1]),
                confidence=float(confidence[last]),
                loss=float(loss[last]),
            )
        )
    return found
