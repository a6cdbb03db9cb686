"""Flight recorder and doctor of a PyTorch training run.

Importing this package imports neither torch, pyarrow nor duckdb: names are resolved when used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.capture.callback import TelemetryCallback
    from telemetry.compare.diff.baseline import read_baseline, write_baseline
    from telemetry.compare.diff.diff import diff_runs
    from telemetry.compare.plot.plot import plot, plot_runs
    from telemetry.compare.sweep.sweep import sweep_runs
    from telemetry.compare.watch.watcher import watch_runs
    from telemetry.diagnose.diagnose import diagnose_run
    from telemetry.diagnose.policy import Policy
    from telemetry.diagnose.policy_file import load_policy
    from telemetry.errors import TelemetryError, TrainingStopped
    from telemetry.finding import Finding
    from telemetry.report.reading import report_runs
    from telemetry.requests.models import ExplainSpec
    from telemetry.store.store import Store
    from telemetry.store.user_sql.query import query_runs
    from telemetry.trials.try_run import try_remedies

__version__ = "0.1.0"

_PUBLIC = {
    "ExplainSpec": "telemetry.requests.models",
    "Finding": "telemetry.finding",
    "Policy": "telemetry.diagnose.policy",
    "Store": "telemetry.store.store",
    "TelemetryCallback": "telemetry.capture.callback",
    "TelemetryError": "telemetry.errors",
    "TrainingStopped": "telemetry.errors",
    "diagnose_run": "telemetry.diagnose.diagnose",
    "diff_runs": "telemetry.compare.diff.diff",
    "load_policy": "telemetry.diagnose.policy_file",
    "plot": "telemetry.compare.plot.plot",
    "plot_runs": "telemetry.compare.plot.plot",
    "query_runs": "telemetry.store.user_sql.query",
    "read_baseline": "telemetry.compare.diff.baseline",
    "report_runs": "telemetry.report.reading",
    "sweep_runs": "telemetry.compare.sweep.sweep",
    "try_remedies": "telemetry.trials.try_run",
    "watch_runs": "telemetry.compare.watch.watcher",
    "write_baseline": "telemetry.compare.diff.baseline",
}

__all__ = [
    "ExplainSpec",
    "Finding",
    "Policy",
    "Store",
    "TelemetryCallback",
    "TelemetryError",
    "TrainingStopped",
    "diagnose_run",
    "diff_runs",
    "load_policy",
    "plot",
    "plot_runs",
    "query_runs",
    "read_baseline",
    "report_runs",
    "sweep_runs",
    "try_remedies",
    "watch_runs",
    "write_baseline",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
