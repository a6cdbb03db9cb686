"""Which hypotheses did a candidate break? Two models on the same examples, against seed noise.

from telemetry import Store, evaluate
store = Store.open()
found = evaluate.hypotheses.compare(store, store.select("main"), store.select("latest"))
found.verdict; found.answer
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from telemetry import json_values
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.file import append_hypothesis, load_hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import (
    ID_CHARACTERS,
    Expectation,
    Hypothesis,
    Kind,
    Op,
    Towards,
)
from telemetry.evaluate.hypothesis_testing.questions import (
    Passes,
    comparable_keys,
    notes_on,
    of_two_rules,
    question_of,
)
from telemetry.evaluate.hypothesis_testing.result import Comparison, Result
from telemetry.evaluate.hypothesis_testing.seed_runs import (
    of_other_code,
    of_other_names,
    same_recipe,
)
from telemetry.evaluate.hypothesis_testing.stored import Listed, list_hypotheses, stored_hypotheses
from telemetry.evaluate.hypothesis_testing.verdicts import Rules, judge_questions
from telemetry.evaluate.statistics.paired import MIN_SEEDS
from telemetry.evaluate.stored.evaluations import (
    StoredEvaluation,
    newest_pass,
    nothing_evaluated,
    stored_evaluations,
)
from telemetry.store.results import append_once
from telemetry.store.runs.run import Run
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
        raise UsageError(f"{base.run} is both base and candidate; choose two different runs.")
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
        keys, warnings = comparable_keys(known, of_two_rules(*defined), sides[0], sides[1])
        if not keys:
            raise UsageError(_nothing(base, candidate, sides[0], sides[1]))
        questions = [question_of(session, key, sides, of_seeds) for key in keys]
    results = judge_questions(questions, rules)
    notes = [note for question in questions for note in notes_on(question)]
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
            *([] if seeds is not None else _on_found_seeds(store, base, seed_runs)),
        ),
    )


def _on_found_seeds(store: Store, base: Run, seeds: Sequence[Run]) -> list[str]:
    """What a reader must know of seeds that nobody named."""
    lacking = of_other_names(store.runs(), base) if len(seeds) < MIN_SEEDS else []
    return [*of_other_code(base, seeds), *lacking]


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


def _not_a_seed(candidate: Run) -> str:
    return f"{candidate.name} is the candidate, so it does not count as a seed run of the base."


def _nothing(base: Run, candidate: Run, of_base: Passes, of_candidate: Passes) -> str:
    for run, passes in ((base, of_base), (candidate, of_candidate)):
        if not passes:
            return nothing_evaluated(run)
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
