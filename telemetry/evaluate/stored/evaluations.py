"""Stored evaluations of a run: which there are, which one is meant, and their examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telemetry.configuration import nearest
from telemetry.errors import UsageError
from telemetry.evaluate.stored.metadata import metadata_columns
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows, as_float, as_text
from telemetry.store.sessions.session import Session

PLAIN = ""  # hypothesis of the untransformed data set
MIN_PREFIX = 4  # characters of an evaluation's id

LIST_SQL = """
SELECT
    project,
    run,
    eval_id,
    dataset,
    hypothesis,
    checkpoint,
    MIN(step) AS step,
    COUNT(*) AS n,
    AVG(CASE WHEN correct THEN 1.0 WHEN NOT correct THEN 0.0 END) AS accuracy,
    AVG(CAST(loss AS DOUBLE)) AS loss,
    MAX(written_at) AS written_at
FROM example_evals
GROUP BY project, run, eval_id, dataset, hypothesis, checkpoint
ORDER BY written_at, project, run, eval_id, dataset, hypothesis
"""
EXAMPLES_SQL = """
SELECT
    example_id,
    input_digest,
    source_id,
    label,
    prediction,
    target_value,
    predicted_value,
    correct,
    loss,
    confidence,
    margin,
    entropy,
    metadata
FROM example_evals
WHERE project = $project
    AND run = $run
    AND eval_id = $eval_id
    AND dataset = $dataset
    AND hypothesis = $hypothesis
ORDER BY example_id, input_digest
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """One pass of one checkpoint over one data set under one hypothesis.

    `accuracy` and `loss` are means over its examples, NaN where nothing says them.
    """

    run: Run
    eval_id: str
    dataset: str
    hypothesis: str
    checkpoint: str
    step: int | None
    n: int
    accuracy: float
    loss: float
    written_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Judged examples, by id.

    Attributes:
        evaluation: Where they come from.
        table: Their columns; metadata as typed columns `m_<name>`.
    """

    evaluation: StoredEvaluation
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def rows(self) -> Rows:
        """The columns as arrays."""
        return Rows(self.table)

    @property
    def ids(self) -> list[str]:
        """Ids of the examples."""
        return self.rows.texts("example_id")

    @property
    def sources(self) -> list[str]:
        """Original of each example; itself where it has none."""
        sources = self.table.column("source_id").to_pylist()
        return [source or own for source, own in zip(sources, self.ids, strict=True)]

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """1 where the answer is wrong, 0 where right, NaN where nothing says so; shape (n,)."""
        return 1.0 - self.rows.floats("correct")

    def at(self, places: npt.NDArray[np.int64]) -> "Examples":
        """The examples at some places, in their order."""
        return Examples(evaluation=self.evaluation, table=self.table.take(pa.array(places)))

    def part(self, chosen: npt.NDArray[np.bool_]) -> "Examples":
        """The chosen examples."""
        return self.at(np.flatnonzero(chosen))


def stored_evaluations(session: Session) -> list[StoredEvaluation]:
    """Every evaluation of the session's runs, the newest last."""
    runs = {(run.ref.project, run.run): run for run in session.runs}
    return [
        StoredEvaluation(
            run=runs[as_text(row["project"]), as_text(row["run"])],
            eval_id=as_text(row["eval_id"]),
            dataset=as_text(row["dataset"]),
            hypothesis=as_text(row["hypothesis"]),
            checkpoint=as_text(row["checkpoint"]),
            step=row["step"] if isinstance(row["step"], int) else None,
            n=row["n"] if isinstance(row["n"], int) else 0,
            accuracy=as_float(row["accuracy"]),
            loss=as_float(row["loss"]),
            written_at=written_at,
        )
        for row in session.query(LIST_SQL).records()
        if isinstance(written_at := row["written_at"], datetime)
    ]


def newest_pass(found: Sequence[StoredEvaluation], run: Run) -> list[StoredEvaluation]:
    """What a run's newest judged checkpoint was judged on, the newest of each kind, by name."""
    own = [entry for entry in found if entry.run.ref == run.ref]
    newest = {(entry.dataset, entry.hypothesis): entry for entry in of_newest_checkpoint(own)}
    return [newest[key] for key in sorted(newest)]


def choose_evaluation(
    found: Sequence[StoredEvaluation],
    run: Run,
    *,
    eval_id: str | None = None,
    dataset: str | None = None,
) -> StoredEvaluation:
    """The newest evaluation of the newest checkpoint on a plain data set that fits.

    Args:
        found: The evaluations of some runs, the newest last.
        run: The run.
        eval_id: Id of the evaluation, or at least four characters of its beginning.
        dataset: Name of the data set.

    Raises:
        UsageError: none fits, or the newest pass covers several data sets and none is named.
    """
    plain = [e for e in found if e.hypothesis == PLAIN and e.run.ref == run.ref]
    if not plain:
        raise UsageError(nothing_evaluated(run))
    if eval_id is not None:
        plain = _by_id(plain, eval_id)
    if dataset is not None:
        plain = _by_dataset(plain, dataset)
    latest = of_newest_checkpoint(plain)[-1].eval_id
    newest = [entry for entry in plain if entry.eval_id == latest]
    if len(newest) > 1:
        names = ", ".join(entry.dataset for entry in newest)
        raise UsageError(
            f"the evaluation covers several data sets; choose one with --dataset: {names}"
        )
    return newest[0]


def nothing_evaluated(run: Run) -> str:
    """What every question about examples says of a run that has none."""
    return (
        f"run {run.name} ({run.short}) has no evaluated examples; create them with `telemetry "
        f"evaluate {run.short}`, or during training with TelemetryCallback.log_examples."
    )


def read_examples(session: Session, evaluation: StoredEvaluation) -> Examples:
    """The examples of an evaluation, with their metadata as columns."""
    rows = session.query(
        EXAMPLES_SQL,
        {
            "project": evaluation.run.ref.project,
            "run": evaluation.run.run,
            "eval_id": evaluation.eval_id,
            "dataset": evaluation.dataset,
            "hypothesis": evaluation.hypothesis,
        },
    )
    table = rows.arrow.drop_columns(["metadata"])
    for name, column in metadata_columns(rows.arrow.column("metadata").to_pylist()).items():
        table = table.append_column(name, column)
    return Examples(evaluation=evaluation, table=table)


def of_newest_checkpoint(own: Sequence[StoredEvaluation]) -> list[StoredEvaluation]:
    """The evaluations of the weights of the highest step; of those judged last, if of no step.

    Whatever the order: earlier checkpoints are often judged after the last one.
    """
    if not own:
        return []
    steps = [-1 if entry.step is None else entry.step for entry in own]
    last_of_highest = max(range(len(own)), key=lambda place: (steps[place], place))
    chosen = own[-1] if own[-1].step is None else own[last_of_highest]
    return [entry for entry in own if entry.checkpoint == chosen.checkpoint]


def _by_id(plain: Sequence[StoredEvaluation], eval_id: str) -> list[StoredEvaluation]:
    fits = [e for e in plain if e.eval_id == eval_id]
    if not fits and len(eval_id) >= MIN_PREFIX:
        fits = [e for e in plain if e.eval_id.startswith(eval_id)]
    ids = list(dict.fromkeys(e.eval_id for e in fits or plain))
    if not fits or len(ids) > 1:
        raise UsageError(f"evaluation {eval_id!r} matches none or several; {nearest(eval_id, ids)}")
    return fits


def _by_dataset(plain: Sequence[StoredEvaluation], dataset: str) -> list[StoredEvaluation]:
    fits = [entry for entry in plain if entry.dataset == dataset]
    if not fits:
        names = dict.fromkeys(entry.dataset for entry in plain)
        raise UsageError(f"data set {dataset!r} was not evaluated; {nearest(dataset, names)}")
    return fits
