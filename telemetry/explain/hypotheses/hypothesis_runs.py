"""Runs hypotheses: the data set that each one asks for goes through the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.file import load_hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import Hypothesis, Kind, Towards
from telemetry.evaluate.hypothesis_testing.stored import keep_definitions
from telemetry.explain.evaluation.evaluation import Evaluation, evaluate, write_evaluation
from telemetry.explain.hypotheses.transforms import Transform, transform_of
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.models.subject import Subject, example_set
from telemetry.explain.progress import Progress


class Transformed(ExampleSet):
    """A data set whose examples are changed one by one; they keep their ids."""

    def __init__(self, original: ExampleSet, transform: Transform) -> None:
        super().__init__(original.source, original.name)
        self._transform = transform

    def examples(self, limit: int | None = None) -> Iterator[Example]:
        """The changed examples."""
        return map(self._transform, super().examples(limit))


def run_hypotheses(
    subject: Subject,
    hypotheses: str | Path | Sequence[Hypothesis],
    *,
    run: Path | None = None,
    batch: int = 64,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Evaluations of what the hypotheses start from, each once, and of what they ask for.

    A subset needs none of its own: it is a part of what it starts from. Of an invariance an answer
    is right where it is that to the unchanged example, within the tolerance if it is a number; of a
    direction where the loss has not grown, or the number not fallen, or not risen.

    Args:
        subject: The model; its own data set does not matter.
        hypotheses: What is to be tested, or the file that says it.
        run: Folder of a run that keeps definitions and answers, once all are known.
        batch: Examples a forward.
        limit: The first so many examples of each data set.
        progress: Told how many examples are done, of how many.

    Raises:
        UsageError: a definition is wrong, or a data set or transform cannot be used.
        StoreUnreadable: the disk refuses.
    """
    if isinstance(hypotheses, str | Path):
        hypotheses = load_hypotheses(Path(hypotheses))
    found = list(_evaluations(subject, hypotheses, batch, limit, progress))
    if run is not None:
        for evaluation in found:
            write_evaluation(run, evaluation)
        keep_definitions(run, hypotheses)
    return found


def _evaluations(
    subject: Subject,
    hypotheses: Sequence[Hypothesis],
    batch: int,
    limit: int | None,
    progress: Progress | None,
) -> Iterator[Evaluation]:
    sets = {name: example_set(name) for name in dict.fromkeys(h.base for h in hypotheses)}
    changed = {
        h.name: Transformed(sets[h.base], transform_of(h.transform, sets[h.base]))
        for h in hypotheses
        if h.transform is not None
    }
    n_all = sum(_size(examples, limit) for examples in (*sets.values(), *changed.values()))
    n_done = 0

    def answers(examples: ExampleSet) -> Evaluation:
        nonlocal n_done
        before = n_done
        n_done += _size(examples, limit)
        return evaluate(
            replace(subject, examples=examples),
            batch=batch,
            limit=limit,
            progress=progress and (lambda done, _of: progress(before + done, n_all)),
        )

    plain = {name: answers(examples) for name, examples in sets.items()}
    yield from (plain[name] for name in dict.fromkeys(_starts(hypotheses)))
    for hypothesis in hypotheses:
        if hypothesis.kind is Kind.MIN:
            yield plain[hypothesis.base].under(hypothesis.name)
        elif hypothesis.name in changed:
            found = answers(changed[hypothesis.name])
            yield _judged(hypothesis, found, plain[hypothesis.base])


def _starts(hypotheses: Sequence[Hypothesis]) -> Iterator[str]:
    """Data sets from which hypotheses start; that of a minimum is its own."""
    return (h.base for h in hypotheses if h.kind is not Kind.MIN)


def _size(examples: ExampleSet, limit: int | None) -> int:
    return len(examples) if limit is None else min(limit, len(examples))


def _judged(hypothesis: Hypothesis, answers: Evaluation, plain: Evaluation) -> Evaluation:
    """Answers to changed examples, right or wrong by what the unchanged ones got."""
    before = {str(row["example_id"]): row for row in plain.rows}
    rows = []
    for row in answers.rows:
        unchanged = str(row["example_id"])
        source = row["source_id"] or unchanged
        right = _holds(hypothesis, row, before[unchanged])
        rows.append({**row, "source_id": source, "correct": right})
    return replace(answers, rows=tuple(rows)).under(hypothesis.name, hypothesis.rule)


def _holds(
    hypothesis: Hypothesis, after: Mapping[str, object], before: Mapping[str, object]
) -> bool:
    """Whether an example meets a hypothesis about how its answer may change.

    Raises:
        UsageError: nothing says so.
    """
    name, is_number = hypothesis.name, after.get("prediction") is None
    if hypothesis.kind is Kind.INVARIANCE:
        if is_number != (hypothesis.tolerance is not None):
            raise UsageError(
                f"{name}: the model returns numbers, which are never exactly equal; set the "
                "change that matters, such as tolerance = 0.1, or use kind direction or min."
                if is_number
                else f"{name}: tolerance is only for models that return a number, but this "
                "model returns classes; remove it."
            )
        if hypothesis.tolerance is None:
            return after["prediction"] == before["prediction"]
        return abs(_change(after, before, "predicted_value")) <= hypothesis.tolerance
    if hypothesis.towards is Towards.TRUTH:
        if not all(isinstance(row.get("loss"), int | float) for row in (after, before)):
            raise UsageError(f"{name}: kind direction needs labels, but the data set has none.")
        return _change(after, before, "loss") <= 0
    if not is_number:
        raise UsageError(f"{name}: the model returns classes, which can go neither up nor down.")
    change = _change(after, before, "predicted_value")
    return change >= 0 if hypothesis.towards is Towards.UP else change <= 0


def _change(after: Mapping[str, object], before: Mapping[str, object], column: str) -> float:
    return float(str(after[column])) - float(str(before[column]))
