"""Which examples a condition over the stored answers of a run means."""

from telemetry.errors import UsageError
from telemetry.evaluate.stored.evaluations import (
    choose_evaluation,
    read_examples,
    stored_evaluations,
)
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.user_sql.expressions import matching


def is_evaluated(store: Store, run: Run, dataset: str | None) -> bool:
    """Whether the run has answers to the examples of a data set; None: of any."""
    with store.session([run]) as session:
        found = stored_evaluations(session)
    return any(one.run.ref == run.ref and dataset in {None, one.dataset} for one in found)


def members_of(store: Store, run: Run, where: str, dataset: str | None = None) -> tuple[str, ...]:
    """Ids of the examples that fulfil a condition, in the newest evaluation of a run.

    Args:
        store: That holds the run.
        run: Whose answers.
        where: One boolean expression over `example_evals`.
        dataset: Name of the data set; None: the one that was evaluated.

    Raises:
        UsageError: nothing was evaluated, no condition, or no example fulfils it.
    """
    with store.session([run]) as session:
        evaluation = choose_evaluation(stored_evaluations(session), run, dataset=dataset)
        examples = read_examples(session, evaluation)
    chosen = examples.part(matching(examples.table, where))
    if not len(chosen):
        raise UsageError(
            f"--where {where}: none of {len(examples)} examples of {evaluation.dataset} meets it."
        )
    return tuple(chosen.ids)
