"""Answers to `telemetry explain coverage`: sentence, JSON, rows."""

from telemetry import json_values
from telemetry.errors import UsageError
from telemetry.evaluate.overview.gap_words import with_shares
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.results.result import Files, ResultFormat, no_files, no_picture
from telemetry.explain.training_gaps.gaps import Gap
from telemetry.explain.training_gaps.training_coverage import Coverage, coverage
from telemetry.json_values import Json
from telemetry.requests.explain.coverage import KIND, CoverageRequest

MOST_NAMED = 200  # examples of a condition that names them one by one
METADATA = "m_"
OF_CLASS = "label = "


def answer(request: CoverageRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Compare both sets and keep what is found.

    Raises:
        UsageError: no training set, no test set, or as for `coverage`.
    """
    train = request.train or request.source.train
    if train is None:
        raise UsageError(
            "no training examples are known; name them with --train package.module:name, or "
            "record the run with TelemetryCallback(explain=ExplainSpec(train=...))."
        )
    found = coverage(subject, train, request.test, request.settings, progress)
    return FORMAT.answers([found], request.keep)


def document(found: Coverage, files: Files) -> dict[str, Json]:
    """What `telemetry explain coverage` shows."""
    del files  # a comparison has none
    return {
        "coverage_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "train": found.train,
        "test": found.test,
        "train_n": found.train_n,
        "test_n": len(found.test_ids),
        "accuracy": found.accuracy,
        "attributes": [_gap(found, gap) for gap in found.gaps],
        "missing_classes": missing_classes(found),
        "finding": found.has_finding,
        "warnings": list(found.warnings),
        "answer": sentence(found),
        "forwards": found.forwards,
        "seconds": found.seconds,
    }


def sentence(found: Coverage) -> str:
    """The answer in words: the first gap, and the one of most examples where that is another."""
    gaps = found.reported
    if not gaps:
        return _nothing(found)
    first, largest = gaps[0], max(gaps, key=lambda gap: gap.outside_n)
    return "; ".join(dict.fromkeys([_said(first), _said(largest)]))


def _nothing(found: Coverage) -> str:
    """What was compared, one thing at a time, and what nobody has looked at."""
    n_attributes = sum(gap.kind == "attribute" for gap in found.gaps)
    has_neighbours = found.distances is not None
    looked = [
        *([_counted(n_attributes, "attribute")] if n_attributes else []),
        *([_counted(found.n_columns, "column")] if found.n_columns else []),
        *([_counted(found.n_pairs, "pair")] if found.n_pairs else []),
        *(["the distance to neighbours"] if has_neighbours else []),
    ]
    total = _counted(n_attributes + found.n_columns + found.n_pairs + has_neighbours, "comparison")
    unseen = "groups of three" if has_neighbours else "neighbours and groups of three"
    return f"nothing found in {total} ({', '.join(looked)}); {unseen} were not examined"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _said(gap: Gap) -> str:
    if not gap.is_finding or gap.error_outside is None or gap.error_inside is None:
        return gap.sentence
    return with_shares(gap.kind, gap.sentence, gap.error_outside, gap.error_inside)


def missing_classes(found: Coverage) -> list[Json]:
    """Classes of the test set that training hardly has."""
    groups = (gap.attribute for gap in found.gaps if gap.kind == "cell")
    is_class = (name for name in groups if name.startswith(OF_CLASS) and " and " not in name)
    return [name.removeprefix(OF_CLASS) for name in is_class]


def where_of(found: Coverage, gap: Gap) -> str:
    """A condition over `example_evals` that chooses the uncovered examples.

    At most 200 are named one by one; those of metadata and labels need no names.
    """
    if gap.where is not None:
        return gap.where
    if gap.attribute.startswith(METADATA) and gap.attribute.isidentifier():
        return f"{gap.attribute} < {gap.train_low!r} OR {gap.attribute} > {gap.train_high!r}"
    names = ", ".join(map(_literal, found.examples(gap, MOST_NAMED)))
    return f"example_id IN ({names})"


def rows_of(found: Coverage, files: Files) -> list[dict[str, object]]:
    """Rows of table `coverage`, one a comparison."""
    del files
    return [
        {
            "coverage_id": found.id,
            "checkpoint": found.origin.checkpoint,
            "train_dataset": found.train,
            "test_dataset": found.test,
            **_numbers(gap),
            "histogram": json_values.dumps(_histogram(gap)) if gap.histogram else None,
            "example_ids": json_values.dumps(list(found.examples(gap))),
            "neighbours": json_values.dumps(_neighbours(gap)) if gap.neighbours else None,
            "answer": sentence(found),
        }
        for gap in found.gaps
    ]


def _numbers(gap: Gap) -> dict[str, Json]:
    """What was compared and what came out, as rows and answers have it."""
    return {
        "kind": gap.kind,
        "attribute": gap.attribute,
        "train_low": gap.train_low,
        "train_high": gap.train_high,
        "train_n": gap.train_n,
        "test_n": gap.test_n,
        "outside_n": gap.outside_n,
        "outside_share": gap.outside_share,
        "shift_sd": gap.shift_sd,
        "p": gap.p,
        "q": gap.q,
        "error_inside": gap.error_inside,
        "error_outside": gap.error_outside,
        "error_p": gap.error_p,
        "reported": gap.reported,
        "finding": gap.is_finding,
        "sentence": gap.sentence,
    }


def _gap(found: Coverage, gap: Gap) -> dict[str, Json]:
    return {
        **_numbers(gap),
        "histogram": _histogram(gap),
        "example_ids": list(found.examples(gap)),
        "neighbours": _neighbours(gap),
        "where": where_of(found, gap) if gap.reported else None,
    }


def _histogram(gap: Gap) -> Json:
    if gap.histogram is None:
        return None
    found = gap.histogram
    return {
        "low": found.low,
        "high": found.high,
        "train": list(found.train),
        "test": list(found.test),
    }


def _neighbours(gap: Gap) -> list[Json]:
    return [list(names) for names in gap.neighbours]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


FORMAT: ResultFormat[Coverage] = ResultFormat(
    kind=KIND,
    picture=no_picture,
    files=no_files,
    document=document,
    rows=rows_of,
)
