"""Reads the runs of a sweep: what earlier sweeps have kept, and of the others their files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from telemetry.compare.sweep.curves import Choice, SweepCurves, choose, curves_of
from telemetry.compare.sweep.facts import Facts, Key
from telemetry.compare.sweep.kept_facts import KeptFacts, Known
from telemetry.diagnose.policy import Policy
from telemetry.errors import StoreUnreadable
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

if TYPE_CHECKING:
    from telemetry.store.sessions.session import Session

Progress: TypeAlias = Callable[[Sequence[Run]], Iterable[Run]]
Roots: TypeAlias = frozenset[str] | StoreUnreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReading:
    """What was read.

    Attributes:
        shelf: Keeps what was read; it is saved when the sweep is done.
        curves: Of the metric.
        roots: Detectors of the root causes of each run, or why it could not be diagnosed.
        damage: Files that are torn, foreign or missing.
    """

    shelf: KeptFacts
    curves: SweepCurves
    roots: Mapping[Key, Roots]
    damage: tuple[str, ...]


def read_sweep(
    store: Store, runs: Sequence[Run], metric: str | None, policy: Policy, progress: Progress
) -> SweepReading:
    """Read what ranks runs, why they failed, and what is wrong with their files.

    Raises:
        UsageError: no run recorded the metric.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    shelf = KeptFacts(store.path, policy)
    kept = {run.key: found for run in runs if (found := shelf.get(run)) is not None}
    fresh = [run for run in runs if run.key not in kept]
    roots: dict[Key, Roots] = {key: found.roots for key, found in kept.items()}
    damage: dict[Key, tuple[str, ...]] = {}
    if fresh:
        # It loads duckdb and pyarrow, which a sweep that was read before does without.
        from telemetry.compare.stored_findings import roots_of_runs  # noqa: PLC0415
        from telemetry.store.runs.listing import damage_of  # noqa: PLC0415

        judged = roots_of_runs(store, progress(fresh), policy)
        roots |= {run.key: found for run, found in judged}
        for run in fresh:
            shelf.begin(run)
        damage = {run.key: damage_of([run]) for run in fresh}
    before = {key: found.facts for key, found in kept.items()}
    facts, choice = _facts(store, runs, fresh, before, metric)
    for run in runs:
        causes = roots[run.key]
        is_new = facts[run.key] is not before.get(run.key)
        if is_new and not damage.get(run.key) and not isinstance(causes, StoreUnreadable):
            shelf.put(run, Known(facts=facts[run.key], roots=causes))
    return SweepReading(
        shelf=shelf,
        curves=curves_of(facts, choice),
        roots=roots,
        damage=tuple(warning for found in damage.values() for warning in found),
    )


def _facts(
    store: Store,
    runs: Sequence[Run],
    fresh: Sequence[Run],
    known: Mapping[Key, Facts],
    metric: str | None,
) -> tuple[dict[Key, Facts], Choice]:
    """Facts of all runs with what the metric needs; only what is not known is read."""
    found = dict(known)
    with ExitStack() as stack:
        session = stack.enter_context(store.session(fresh)) if fresh else None
        if session is not None:
            from telemetry.compare.sweep.read_facts import read_facts  # noqa: PLC0415 - duckdb

            found |= read_facts(session)
        choice = choose([found[run.key] for run in runs], metric)
        if session is not None:
            found |= _with_curves(session, found, choice)
    lacking = [run for run in runs if choice.lacks_curve(found[run.key])]
    if lacking:
        with store.session(lacking) as session:
            found |= _with_curves(session, found, choice)
    open_ends = [run for run in runs if choice.lacks_end(found[run.key])]
    if open_ends:
        from telemetry.compare.sweep.read_facts import with_ends  # noqa: PLC0415 - duckdb

        with store.session(open_ends) as session:
            found |= with_ends(session, found)
    return found, choice


def _with_curves(
    session: "Session", facts: Mapping[Key, Facts], choice: Choice
) -> dict[Key, Facts]:
    from telemetry.compare.sweep.read_facts import (  # noqa: PLC0415 - duckdb
        with_losses,
        with_metric,
    )

    if choice.from_steps:
        return with_losses(session, facts)
    return with_metric(session, facts, choice.metric)
