"""`python -m telemetry.diagnose RUN_FOLDER --close`: judge a run that has just ended.

Started detached by the training process, in its working folder, whose settings file holds: it says
nothing, and nobody waits for it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from telemetry.diagnose.diagnose import ensure_findings
from telemetry.diagnose.policy_file import load_policy
from telemetry.errors import TelemetryError
from telemetry.store.catalog import load_run
from telemetry.store.store import Store

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Diagnose one run folder and keep the findings; the exit code is that of the error, or 0."""
    parser = argparse.ArgumentParser(prog="python -m telemetry.diagnose", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of one run: STORE/project=P/run=ID")
    parser.add_argument(
        "--close", action="store_true", help="the run has ended: keep its findings in the run"
    )
    given = parser.parse_args(arguments)
    folder = given.run.resolve()
    try:
        store = Store.open(folder.parents[1])
        if given.close:
            ensure_findings(store, [load_run(folder)], load_policy())
    except TelemetryError as error:
        logger.debug("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
