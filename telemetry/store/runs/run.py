"""One run as the query half sees it: what its folder's name and its manifest say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from telemetry.format.manifest import Manifest, Status
from telemetry.format.runs import RunRef, start_in_id
from telemetry.in_notebooks import ShownInNotebooks
from telemetry.json_values import NOT_FINITE, Json, json_integer, json_number

OF_WEIGHTS = "checkpoint"  # begins the id of the run of a file of weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(ShownInNotebooks):
    """One run as the query half sees it; `manifest` is None when unreadable, `reason` says why.

    `measured` are metrics from the tables, where the manifest lacks them: see `knows_metrics`.
    """

    ref: RunRef
    manifest: Manifest | None
    status: Status
    reason: str = ""
    steps_on_disk: int = 0
    measured: Mapping[str, Json] | None = None

    @property
    def is_of_weights(self) -> bool:
        """Whether it is no training, but what is known of a file of weights."""
        return self.run.startswith(f"{OF_WEIGHTS}-")

    @property
    def run(self) -> str:
        """The id."""
        return self.ref.run

    @property
    def key(self) -> tuple[str, str]:
        """Project and id, as its folders are called: what tells it from any other of a store."""
        return self.ref.project, self.ref.run

    @property
    def short(self) -> str:
        """The short id shown on screens."""
        return self.ref.short

    @property
    def project(self) -> str:
        """The project as the user wrote it."""
        return (self.manifest.project if self.manifest else "") or self.ref.project

    @property
    def name(self) -> str:
        """The display name."""
        return self.manifest.name if self.manifest else self.ref.run

    @property
    def started(self) -> str:
        """ISO-8601 start in UTC, '' when unknown; without a manifest it is that of the id."""
        return self.manifest.started if self.manifest else start_in_id(self.run)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags."""
        return self.manifest.tags if self.manifest else ()

    @property
    def config(self) -> Mapping[str, Json]:
        """Flat configuration with dotted keys."""
        return self.manifest.config if self.manifest else {}

    @property
    def metrics(self) -> Mapping[str, Json]:
        """`{name: {last, best, best_step}}`; the loss as `format.run_loss` says, others raw."""
        found = self.manifest.summary.get("metrics") if self.manifest else None
        metrics = found if isinstance(found, Mapping) else {}
        return metrics if self.measured is None else {**metrics, **self.measured}

    def last_value(self, metric: str) -> float | None:
        """The last value of a metric; None where the run has none, or none that is a number."""
        entry = self.metrics.get(metric)
        value = entry.get("last") if isinstance(entry, Mapping) else None
        if isinstance(value, str):
            return float(value) if value in NOT_FINITE else None
        return json_number(value)

    @property
    def knows_metrics(self) -> bool:
        """Whether `metrics` are those of the run, as far as it was recorded.

        Else its tables have them: it was not closed, for it is alive or was killed, or it was
        written by an older version or by several processes, one after the other or together.
        """
        if self.manifest is None or self.measured is not None:
            return True
        return self.manifest.closed and isinstance(self.manifest.summary.get("loss_to"), int)

    @property
    def loss_trend(self) -> tuple[float, ...] | None:
        """The curve of the loss in a few points; None where its tables must be read for it."""
        found = self.manifest.summary.get("loss_trend") if self.manifest else None
        if (
            self.measured is not None
            or not self.knows_metrics
            or not isinstance(found, list | tuple)
        ):
            return None
        plain = (value for value in found if _is_plain(value))
        values = (float(one) if one in NOT_FINITE else json_number(one) for one in plain)
        return tuple(value for value in values if value is not None)

    @property
    def steps(self) -> int:
        """Optimizer steps recorded so far."""
        found = self.manifest.summary.get("steps") if self.manifest else None
        return max(json_integer(found, least=0) or 0, self.steps_on_disk)

    @property
    def dropped_rows(self) -> int:
        """Rows that were recorded and could not be written, as far as the manifest knows."""
        return self._count("dropped_rows")

    @property
    def refused_values(self) -> int:
        """Losses and metrics that were no numbers and were left out."""
        return self._count("refused_values")

    def _count(self, key: str) -> int:
        found = self.manifest.summary.get(key) if self.manifest else None
        return json_integer(found, least=0) or 0

    @property
    def finding_counts(self) -> Mapping[str, Json] | None:
        """`{error, warning, info}` of the last stored diagnosis, None when there was none."""
        found = self.manifest.summary.get("findings") if self.manifest else None
        return found if isinstance(found, Mapping) else None

    @property
    def findings_options(self) -> str | None:
        """Hash of the settings by which `finding_counts` were counted, None when unknown."""
        found = self.manifest.summary.get("findings_options") if self.manifest else None
        return found if isinstance(found, str) else None

    def to_json(self) -> dict[str, Json]:
        """The `run` object of every `--json` document."""
        return {
            "run": self.run,
            "project": self.project,
            "name": self.name,
            "status": self.status,
            "started": self.started,
            "steps": self.steps,
            "config": self.config,
            "tags": self.tags,
            "metrics": self.metrics,
        }


def _is_plain(value: Json) -> TypeGuard[str | int | float]:
    return isinstance(value, str | int | float)
