"""Root causes of many runs, from stored diagnoses where they hold."""

from collections.abc import Iterable

from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import StoreUnreadable
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

FAILING = frozenset({Severity.ERROR, Severity.WARNING})


def roots_of_runs(
    store: Store, runs: Iterable[Run], policy: Policy = DEFAULT_POLICY
) -> list[tuple[Run, frozenset[str] | StoreUnreadable]]:
    """Detectors of the root causes of each run, or why the run could not be diagnosed.

    A root is an error or a warning that is no consequence of another finding.
    """
    found: list[tuple[Run, frozenset[str] | StoreUnreadable]] = []
    for run in runs:
        try:
            roots = [f for f in findings_of(store, run, policy) if f.consequence_of is None]
        except StoreUnreadable as error:
            found.append((run, error))
        else:
            found.append((run, frozenset(f.detector for f in roots if f.severity in FAILING)))
    return found
