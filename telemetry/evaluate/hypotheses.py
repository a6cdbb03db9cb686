"""Which hypotheses did a candidate break? Two models on the same examples, against seed noise.

from telemetry import Store, evaluate
store = Store.open()
found = evaluate.hypotheses.compare(store, store.select("main"), store.select("latest"))
found.verdict; found.answer
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from telemetry import json_values
from telemetry.errors import UsageError
from telemetry.evaluate.comparison import Comparison, Result
from telemetry.evaluate.evaluations import (
    PLAIN,
    StoredEvaluation,
    newest_pass,
    stored_evaluations,
)
from telemetry.evaluate.hypothesis import (
    ACCURACY,
    ERROR,
    ID_CHARACTERS,
    LOSS,
    Expectation,
    Hypothesis,
    Kind,
    Op,
    Towards,
)
from telemetry.evaluate.hypothesis_file import append_hypothesis, load_hypotheses
from telemetry.evaluate.measures import mean_of, measured, part_of
from telemetry.evaluate.pairs import Pairs, paired_examples
from telemetry.evaluate.seed_runs import of_other_code, same_recipe
from telemetry.evaluate.stored_hypotheses import Listed, list_hypotheses, stored_hypotheses
from telemetry.evaluate.verdicts import Question, Rules, judge_questions
from telemetry.store.catalog import Run
from telemetry.store.results import append_once
from telemetry.store.session import Session
from telemetry.store.store import Store

__all__ = [
    "Comparison",
    "Expectation",
    "Hypothesis",
    "Kind",
    "Listed",
    "Op",
    "Result",
    "Rules",
    "Towards",
    "append_hypothesis",
    "compare",
    "keep",
    "list_hypotheses",
    "load_hypotheses",
]

DEFAULT_RULES = Rules()
Floats = npt.NDArray[np.float64]
Passes = Mapping[tuple[str, str], StoredEvaluation]  # by data set and hypothesis


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """What is compared: examples of a data set under a hypothesis, perhaps a part of them."""

    name: str
    dataset: str
    hypothesis: str
    where: str | None = None
    definition: Hypothesis | None = None


def compare(
    store: Store,
    base: Run,
    candidate: Run,
    *,
    seeds: Sequence[Run] | None = None,
    hypotheses: Sequence[Hypothesis] = (),
    rules: Rules = DEFAULT_RULES,
) -> Comparison:
    """Judge a candidate against a base on every hypothesis that both were evaluated on.

    Args:
        store: Where the runs lie.
        base: The model that is known.
        candidate: The model that is asked about.
        seeds: Runs of the base's recipe with other seeds, three at least; None takes the runs of
            the store whose configuration differs from the base's in seeds alone.
        hypotheses: Definitions; a `subset` needs no evaluation of its own. Those stored with
            either run count too.
        rules: How to judge.

    Raises:
        UsageError: both are the same run, or nothing was evaluated on both sides.
    """
    if base.ref == candidate.ref:
        raise UsageError(f"{base.run} is base and candidate at once; choose two runs.")
    others = same_recipe(store.runs(), base) if seeds is None else list(seeds)
    is_seed = any(run.ref == candidate.ref for run in others)
    others = [run for run in others if run.ref != candidate.ref]
    runs = {run.ref.path: run for run in (base, candidate, *others)}
    with store.session(list(runs.values())) as session:
        stored = stored_evaluations(session)
        defined = [stored_hypotheses(session, [run]) for run in (candidate, base)]
        sides = [_passes(newest_pass(stored, run)) for run in (base, candidate)]
        of_seeds = [p for run in others if (p := _passes(newest_pass(stored, run)))]
        seed_runs = tuple(next(iter(passes.values())).run for passes in of_seeds)
        known = [*hypotheses, *defined[0], *defined[1]]
        keys, warnings = _keys(known, _of_two_rules(*defined), sides[0], sides[1])
        if not keys:
            raise UsageError(_nothing(base, candidate, sides[0], sides[1]))
        questions = [_question(session, key, sides, of_seeds) for key in keys]
    results = judge_questions(questions, rules)
    notes = [note for question in questions for note in _notes(question)]
    return Comparison(
        compare_id=_identity(results, seed_runs, rules),
        base=base,
        candidate=candidate,
        seeds=seed_runs,
        q=rules.q,
        results=tuple(results),
        warnings=(
            *warnings,
            *notes,
            *([_not_a_seed(candidate)] if is_seed and seeds else []),
            *([] if seeds else of_other_code(base, seed_runs)),
        ),
    )


def keep(comparison: Comparison) -> bool:
    """Store a comparison in the candidate's run; False when it is there already.

    Raises:
        StoreUnreadable: the run's folder cannot be written.
    """
    moment = datetime.now(UTC).replace(tzinfo=None)
    left_out = {"dataset", "detectable_drop"}
    rows = [
        {
            "compare_id": comparison.compare_id,
            "written_at": moment,
            **{k: v for k, v in result.to_json().items() if k not in left_out},
        }
        for result in comparison.results
    ]
    folder = comparison.candidate.ref.path
    return append_once(folder, "hypothesis_results", rows, identity="compare_id")


def _passes(found: Sequence[StoredEvaluation]) -> Passes:
    return {(entry.dataset, entry.hypothesis): entry for entry in found}


def _of_two_rules(first: Sequence[Hypothesis], second: Sequence[Hypothesis]) -> set[str]:
    """Names under which two runs were asked different things."""
    rules = {hypothesis.name: hypothesis.rule for hypothesis in first}
    return {
        h.name for h in second if h.kind is not Kind.SUBSET and rules.get(h.name, h.rule) != h.rule
    }


def _keys(
    known: Sequence[Hypothesis], of_two_rules: set[str], base: Passes, candidate: Passes
) -> tuple[list[_Key], list[str]]:
    """What both sides can answer, and a word about what they cannot."""
    definitions: dict[str, Hypothesis] = {}
    for hypothesis in known:
        definitions.setdefault(hypothesis.name, hypothesis)
    both = sorted(base.keys() & candidate.keys())
    alone = sorted(base.keys() ^ candidate.keys())
    keys = [
        _Key(name=name, dataset=dataset, hypothesis=name, definition=definitions.get(name))
        for dataset, name in both
        if name not in of_two_rules
    ]
    warnings = [
        *(f"{name or of} was evaluated on one side only and is left out." for of, name in alone),
        *(
            f"{name} was another hypothesis when the base was tested and is left out; "
            "`telemetry hypotheses run` tests both by one file."
            for name in sorted(of_two_rules)
        ),
    ]
    told = {*of_two_rules, *(name for _, name in alone)}
    evaluated = {key.name for key in keys}
    for hypothesis in definitions.values():
        if hypothesis.name in evaluated | told:
            continue
        if hypothesis.kind is Kind.SUBSET and (hypothesis.base, PLAIN) in both:
            keys.append(
                _Key(
                    name=hypothesis.name,
                    dataset=hypothesis.base,
                    hypothesis=PLAIN,
                    where=hypothesis.where,
                    definition=hypothesis,
                )
            )
        else:
            warnings.append(f"{hypothesis.name} was not evaluated on both sides and is left out.")
    return keys, list(dict.fromkeys(warnings))


def _question(
    session: Session, key: _Key, sides: Sequence[Passes], seeds: Sequence[Passes]
) -> Question:
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
    return Question(
        hypothesis=key.name,
        pairs=pairs,
        metric=metric,
        values=values,
        seed_values=np.array(of_seeds, dtype=np.float64),
        min_size=asked.min_size if asked else 1,
    )


def _values(pairs: Pairs, metric: str, tolerance: float | None) -> Floats:
    """A metric of base and candidate, shape (2, n_pairs)."""
    sides = (pairs.base, pairs.candidate)
    return np.stack([measured(examples, metric, tolerance) for examples in sides])


def _notes(question: Question) -> list[str]:
    """What a reader of a question's numbers must know."""
    pairs = question.pairs
    if pairs.fault:
        return []  # the verdict says it
    name = question.hypothesis or "plain data set"
    notes = [f"{name}: {pairs.note}."] if pairs.note else []
    n_sources = len(set(pairs.base.sources))
    if n_sources < len(pairs):
        notes.append(
            f"{name}: {len(pairs)} examples come from {n_sources} originals; the interval counts "
            "that, the test takes them as independent."
        )
    return notes


def _not_a_seed(candidate: Run) -> str:
    return f"{candidate.name} is the candidate, so it does not count as a seed run of the base."


def _nothing(base: Run, candidate: Run, of_base: Passes, of_candidate: Passes) -> str:
    for run, passes in ((base, of_base), (candidate, of_candidate)):
        if not passes:
            return (
                f"run {run.name} ({run.short}) has no evaluated examples; write them by "
                f"`telemetry evaluate {run.short}`."
            )
    names = ", ".join(dataset for dataset, _ in sorted({*of_base, *of_candidate}))
    return f"the runs were not evaluated on the same data set: {names}."


def _identity(results: Sequence[Result], seeds: Sequence[Run], rules: Rules) -> str:
    """Equal for the same question about the same evaluations."""
    asked = [
        *sorted(f"{r.dataset} {r.hypothesis} {r.base_eval} {r.cand_eval}" for r in results),
        *sorted(run.run for run in seeds),
        f"{rules.q!r} {rules.mid_p} {rules.needs_seeds}",
    ]
    return hashlib.sha256(json_values.dumps(asked).encode()).hexdigest()[:ID_CHARACTERS]
