"""What two runs can be asked about each other, and the answers of both to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.hypothesis_testing.hypothesis import ACCURACY, ERROR, LOSS, Hypothesis, Kind
from telemetry.evaluate.hypothesis_testing.measures import mean_of, measured, part_of
from telemetry.evaluate.hypothesis_testing.pairs import Pairs, paired_examples
from telemetry.evaluate.hypothesis_testing.verdicts import HypothesisQuestion
from telemetry.evaluate.stored.evaluations import PLAIN, StoredEvaluation
from telemetry.store.sessions.session import Session

Floats = npt.NDArray[np.float64]
Passes = Mapping[tuple[str, str], StoredEvaluation]  # by data set and hypothesis


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is compared: examples of a data set under a hypothesis, perhaps a part of them."""

    name: str
    dataset: str
    hypothesis: str
    where: str | None = None
    definition: Hypothesis | None = None


def of_two_rules(first: Sequence[Hypothesis], second: Sequence[Hypothesis]) -> set[str]:
    """Names under which two runs were asked different things."""
    rules = {hypothesis.name: hypothesis.rule for hypothesis in first}
    return {
        h.name for h in second if h.kind is not Kind.SUBSET and rules.get(h.name, h.rule) != h.rule
    }


def comparable_keys(
    known: Sequence[Hypothesis], excluded: set[str], base: Passes, candidate: Passes
) -> tuple[list[Key], list[str]]:
    """What both sides can answer, and a word about what they cannot.

    Args:
        known: Definitions; of several of one name the first counts.
        excluded: Names of `of_two_rules`.
        base: What the base was evaluated on.
        candidate: What the candidate was.
    """
    definitions: dict[str, Hypothesis] = {}
    for hypothesis in known:
        definitions.setdefault(hypothesis.name, hypothesis)
    both = sorted(base.keys() & candidate.keys())
    alone = sorted(base.keys() ^ candidate.keys())
    keys = [
        Key(name=name, dataset=dataset, hypothesis=name, definition=definitions.get(name))
        for dataset, name in both
        if name not in excluded
    ]
    warnings = [
        *(
            f"{name or of} was evaluated on one side only and is not compared."
            for of, name in alone
        ),
        *(
            f"{name} was a different hypothesis when the base was tested, so it is not "
            "compared; `telemetry hypotheses run` tests both with the same file."
            for name in sorted(excluded)
        ),
    ]
    told = {*excluded, *(name for _, name in alone)}
    evaluated = {key.name for key in keys}
    for hypothesis in definitions.values():
        if hypothesis.name in evaluated | told:
            continue
        if hypothesis.kind is Kind.SUBSET and (hypothesis.base, PLAIN) in both:
            keys.append(
                Key(
                    name=hypothesis.name,
                    dataset=hypothesis.base,
                    hypothesis=PLAIN,
                    where=hypothesis.where,
                    definition=hypothesis,
                )
            )
        else:
            warnings.append(
                f"{hypothesis.name} was not evaluated on both sides and is not compared."
            )
    return keys, list(dict.fromkeys(warnings))


def question_of(
    session: Session, key: Key, sides: Sequence[Passes], seeds: Sequence[Passes]
) -> HypothesisQuestion:
    """The answers of both sides to what is compared, and those of the seed runs.

    Args:
        session: That knows all evaluations.
        key: What is compared.
        sides: Evaluations of base and candidate.
        seeds: Those of each seed run.
    """
    kind = (key.dataset, key.hypothesis)
    asked = key.definition
    base, candidate = (part_of(session, passes[kind], key.where) for passes in sides)
    pairs = paired_examples(base, candidate)
    metric = asked.expect.metric if asked else ACCURACY
    metric = ACCURACY if metric == ERROR else metric
    tolerance = asked.tolerance if asked else None
    values = _values(pairs, metric, tolerance)
    if metric == ACCURACY and not np.isfinite(values).all(axis=0).any():
        metric, values = LOSS, _values(pairs, LOSS, None)  # nothing says what is right
    of_seeds = [
        mean_of(session, passes[kind], metric, where=key.where, tolerance=tolerance)[1]
        for passes in seeds
        if kind in passes
    ]
    return HypothesisQuestion(
        hypothesis=key.name,
        pairs=pairs,
        metric=metric,
        values=values,
        seed_values=np.array(of_seeds, dtype=np.float64),
        min_size=asked.min_size if asked else 1,
    )


def notes_on(question: HypothesisQuestion) -> list[str]:
    """What a reader of a question's numbers must know."""
    pairs = question.pairs
    if pairs.fault:
        return []  # the verdict says it
    name = question.hypothesis or "plain data set"
    notes = [f"{name}: {pairs.note}."] if pairs.note else []
    n_sources = len(set(pairs.base.sources))
    if n_sources < len(pairs):
        notes.append(
            f"{name}: {len(pairs)} examples come from {n_sources} originals; the interval "
            "accounts for that, but the test treats them as independent."
        )
    return notes


def _values(pairs: Pairs, metric: str, tolerance: float | None) -> Floats:
    """A metric of base and candidate, shape (2, n_pairs)."""
    sides = (pairs.base, pairs.candidate)
    return np.stack([measured(examples, metric, tolerance) for examples in sides])
