"""Reads what a side of a comparison needs of its recorded runs."""

from collections.abc import Sequence

from telemetry.compare.curves.curves import read_curves
from telemetry.compare.curves.read_clocks import read_clocks
from telemetry.compare.diff.compared_run import ComparedRun, Side
from telemetry.compare.diff.costs import read_costs
from telemetry.compare.diff.layer_changes import layer_curves
from telemetry.compare.settings.config_changes import settings
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.settings.recorded_settings import recorded_settings
from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import Inconclusive
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store
from telemetry.store.summaries.trained_parameters import trained_parameters


def read_side(
    store: Store,
    session: Session,
    runs: Sequence[Run],
    requested: Sequence[str] = (),
    policy: Policy = DEFAULT_POLICY,
) -> Side:
    """The summaries of one side.

    Args:
        store: Keeps the findings of a run that had none.
        session: Over these runs.
        runs: The seeds of one configuration, or one run.
        requested: Metrics besides the loss and all evaluated ones.
        policy: How the runs are diagnosed.

    Raises:
        Inconclusive: a run has no step or recorded neither loss nor evaluation.
    """
    runs = store.with_metrics(runs)
    curves = [read_curves(session, run, requested) for run in runs]
    for run, found in zip(runs, curves, strict=True):
        if not found:
            raise Inconclusive(
                f"{run.name} ({run.short}) recorded neither a loss nor an evaluation, so there "
                "is nothing to compare; call telemetry.step(loss=loss) or telemetry.log(...)."
            )
    return tuple(
        ComparedRun(
            labels=RunLabels.of(run),
            settings={**settings(run), **recorded_settings(session, run)},
            curves=found,
            layers=layer_curves(session, run),
            costs=read_costs(session, run),
            findings=findings_of(store, run, policy),
            clocks=read_clocks(session, run),
            trained=trained_parameters(session, run),
        )
        for run, found in zip(runs, curves, strict=True)
    )
