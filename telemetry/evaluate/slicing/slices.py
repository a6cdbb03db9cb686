"""Which group of examples is worst: a search over conjunctions, or one group that was named.

from telemetry import Store, evaluate
store = Store.open()
found = evaluate.slices.find(store, evaluate.slices.SlicedRun(run=store.select("latest")))
found.answer; found.slices[0].where
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telemetry.errors import Inconclusive, UsageError
from telemetry.evaluate.hypothesis_testing.file import append_hypothesis
from telemetry.evaluate.hypothesis_testing.hypothesis import Expectation, Hypothesis, Kind, Op
from telemetry.evaluate.hypothesis_testing.pairs import paired_examples
from telemetry.evaluate.slicing.columns import slicing_columns
from telemetry.evaluate.slicing.judged import Changes, Errors, Judged, Losses
from telemetry.evaluate.slicing.result import Metric, Slice, Slices
from telemetry.evaluate.slicing.search import MIN_SIZE, Search, described, search_slices
from telemetry.evaluate.stored.evaluations import (
    Examples,
    StoredEvaluation,
    choose_evaluation,
    read_examples,
    stored_evaluations,
)
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.user_sql.expressions import matching

__all__ = [
    "Metric",
    "Search",
    "Slice",
    "SlicedRun",
    "Slices",
    "Subject",
    "find",
    "measure",
    "save_hypothesis",
]

DEFAULT_SEARCH = Search()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedRun:
    """The run that is judged.

    Attributes:
        run: Whose newest evaluation.
        metric: Wrong answers, or losses; None: losses where nothing is right or wrong.
        base: Judge the change since this run instead.
        eval_id: Another evaluation of the run, or the beginning of its id.
        dataset: The data set, where several were evaluated.
    """

    run: Run
    metric: Metric | None = None
    base: Run | None = None
    eval_id: str | None = None
    dataset: str | None = None


Subject = SlicedRun  # by its first name, for those who wrote it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Material:
    examples: Examples
    metric: Metric
    judged: Judged
    base: StoredEvaluation | None
    warnings: tuple[str, ...]


def find(store: Store, subject: SlicedRun, search: Search = DEFAULT_SEARCH) -> Slices:
    """Groups of examples that are worse than the rest, none of which another explains.

    Raises:
        UsageError: there is no such evaluation, or nothing to group by.
        Inconclusive: too few examples.
    """
    material = _material(store, subject)
    n = len(material.examples)
    size = search.size(n // 2 if search.confirm else n)
    if n < size * (4 if search.confirm else 2):
        raise Inconclusive(
            f"{n} examples are too few: a group and the rest need at least {size} "
            f"each{' in each half' if search.confirm else ''}; evaluate more examples or lower "
            "--min-size."
        )
    errors = material.examples.errors  # a column that tells them explains no change or loss either
    is_known = bool(np.isfinite(errors).all())
    columns = slicing_columns(material.examples, errors if is_known else None, search.by)
    outcome = search_slices(material.examples, material.judged, columns.used, search)
    return replace(
        _result(material, search.q),
        tested=outcome.tested,
        n_found=outcome.n_found,
        slices=outcome.slices,
        confirmed=search.confirm,
        telling=columns.telling,
        warnings=(*material.warnings, *columns.warnings),
    )


def measure(
    store: Store, subject: SlicedRun, where: str, search: Search = DEFAULT_SEARCH
) -> Slices:
    """One group of examples against the rest.

    Args:
        store: Where the runs lie.
        subject: What is judged.
        where: SQL condition over the columns of `example_evals` and `m_<name>` of the metadata.
        search: Its `q` and `min_size` count.

    Raises:
        UsageError: there is no such evaluation, or the condition is wrong.
        Inconclusive: the condition holds for too few examples, or for all but too few.
    """
    material = _material(store, subject)
    inside = matching(material.examples.table, where)
    n, n_all, size = int(inside.sum()), len(inside), search.min_size or MIN_SIZE
    if n < size or n_all - n < size:
        raise Inconclusive(
            f"{where} holds for {n} of {n_all} examples; it needs at least {size} inside and "
            "outside, or a lower --min-size."
        )
    judged = material.judged
    log_p = judged.log_p(n, judged.totals[inside].sum(axis=0).tolist())
    conditions = (("", where),)
    found = described(
        material.examples, judged, inside, conditions, where, log_p=log_p, q=math.exp(log_p)
    )
    # One group that was named: any sure difference counts, however small.
    is_worse = found.q <= search.q and found.value > found.rest
    return replace(
        _result(material, search.q),
        tested=1,
        n_found=int(is_worse),
        slices=(found,),
        measured=True,
    )


def save_hypothesis(path: Path, name: str, found: Slices) -> Hypothesis:
    """Keep the worst slice as a hypothesis: it is no worse than the rest was.

    Args:
        path: File of hypotheses, made when missing.
        name: Of the hypothesis.
        found: At least one slice.

    Raises:
        UsageError: there is no slice, the name is taken or none, or the file cannot be written.
    """
    if not found.slices:
        raise UsageError(f"no group is worse than the rest, so the hypothesis {name} is not saved.")
    if found.base is not None:
        raise UsageError(
            "a change between two runs cannot be saved as a hypothesis; remove --base."
        )
    worst = found.slices[0]
    hypothesis = Hypothesis(
        name=name,
        statement=f"Where {worst.title}, the {found.metric} is no larger than elsewhere",
        kind=Kind.SUBSET,
        base=found.evaluation.dataset,
        where=worst.where,
        expect=Expectation(metric=found.metric, op=Op.AT_MOST, value=float(f"{worst.rest:.4g}")),
    )
    append_hypothesis(path, hypothesis)
    return hypothesis


def _result(material: _Material, q: float) -> Slices:
    return Slices(
        evaluation=material.examples.evaluation,
        base=material.base,
        metric=material.metric,
        n=len(material.examples),
        overall=material.judged.mean,
        tested=0,
        n_found=0,
        q=q,
        slices=(),
        warnings=material.warnings,
    )


def _material(store: Store, subject: SlicedRun) -> _Material:
    runs = {run.ref.path: run for run in (subject.run, subject.base) if run is not None}
    with store.session(list(runs.values())) as session:
        stored = stored_evaluations(session)
        chosen = choose_evaluation(
            stored,
            subject.run,
            eval_id=subject.eval_id,
            dataset=subject.dataset,
        )
        examples = read_examples(session, chosen)
        metric = subject.metric or _metric_of(examples)
        if subject.base is None:
            return _judged(examples, _values(examples, metric), metric)
        theirs = choose_evaluation(stored, subject.base, dataset=chosen.dataset)
        before = read_examples(session, theirs)
    pairs = paired_examples(before, examples)
    if pairs.fault:
        raise Inconclusive(f"{pairs.fault}.")
    change = _values(pairs.candidate, metric) - _values(pairs.base, metric)
    notes = (f"{pairs.note}.",) if pairs.note else ()
    return _judged(pairs.candidate, change, metric, base=theirs, notes=notes)


def _metric_of(examples: Examples) -> Metric:
    """Losses where nothing says whether an answer is right, as of a regression."""
    return Metric.ERROR if np.isfinite(examples.errors).any() else Metric.LOSS


def _values(examples: Examples, metric: Metric) -> npt.NDArray[np.float64]:
    return examples.errors if metric is Metric.ERROR else examples.rows.floats("loss")


def _judged(
    examples: Examples,
    values: npt.NDArray[np.float64],
    metric: Metric,
    *,
    base: StoredEvaluation | None = None,
    notes: tuple[str, ...] = (),
) -> _Material:
    """Examples with a finite value, and a word about the others.

    Raises:
        UsageError: there are none.
    """
    known = np.isfinite(values)
    if not known.any():
        other = Metric.LOSS if metric is Metric.ERROR else Metric.ERROR
        raise UsageError(
            f"no example has a finite {metric}; try --metric {other} or another evaluation."
        )
    n_left = int((~known).sum())
    if n_left:
        notes = (*notes, f"{n_left} examples without a finite {metric} are not used.")
    kinds = {Metric.ERROR: Errors, Metric.LOSS: Losses}
    kind = kinds[metric] if base is None else Changes
    return _Material(
        examples=examples.part(known),
        metric=metric,
        judged=kind(values[known]),
        base=base,
        warnings=notes,
    )
