"""`python -m telemetry.diagnose RUN_FOLDER`: judge a run for the process that has recorded it.

With `--close` the run has just ended: its shards are merged, and the findings stay in it. With
`--live FILE` it is being recorded, and they go to that file. It runs in the working folder of the
training, whose settings file holds, and says nothing.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from telemetry.diagnose.detector import Tier, find_detector
from telemetry.diagnose.diagnose import diagnose_run, ensure_findings
from telemetry.diagnose.policy_file import load_policy
from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.format.live_findings import LiveFindings, write_findings
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.upkeep.compact import compact_run, remove_old_inputs
from telemetry.store.upkeep.compaction import GRACE_S

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnose one run folder and keep the findings; the exit code is that of the error, or 0."""
    parser = argparse.ArgumentParser(prog="python -m telemetry.diagnose", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of one run: STORE/project=P/run=ID")
    parser.add_argument(
        "--close",
        action="store_true",
        help="the run has ended: merge its shards and store the findings in it",
    )
    parser.add_argument(
        "--live", type=Path, metavar="FILE", help="the run is still going: write its findings there"
    )
    given = parser.parse_args(arguments)
    folder = given.run.resolve()
    try:
        store = Store.open(folder.parents[1])
        if given.close:
            close_run(store, folder)
        if given.live is not None:
            write_findings(given.live, live_findings(store, load_run(folder)))
    except TelemetryError as error:
        logger.debug("%s", error)
        return error.exit_code
    return 0


def close_run(store: Store, folder: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Merge the shards of a run that has ended, judge it, and remove what was merged.

    The merged files wait a minute for queries that have listed them; where somebody waits for this
    process (`$TELEMETRY_COMPACT` is `wait`), they are removed at once.
    """
    grace_s = 0.0 if os.environ.get("TELEMETRY_COMPACT") == "wait" else GRACE_S
    run = load_run(folder)
    n_replaced = 0
    try:
        n_replaced = compact_run(run.ref, grace_s=grace_s).merged.n_outputs
    except (StoreUnreadable, OSError) as error:  # the rows are where they were
        logger.debug("%s", error)
    ensure_findings(store, [load_run(folder)], load_policy())
    if n_replaced and grace_s:
        sleep(grace_s + 1.0)
        remove_old_inputs(run.ref, now_s=time.time())


def live_findings(store: Store, run: Run) -> LiveFindings:
    """What is found of a run so far."""
    found = diagnose_run(store, run, policy=load_policy()).findings
    tiers = {finding.detector: find_detector(finding.detector).tier for finding in found}
    exact = frozenset(name for name, tier in tiers.items() if tier is Tier.INVARIANT)
    return LiveFindings(findings=found, exact=exact, n_steps=run.steps)


if __name__ == "__main__":
    sys.exit(main())
