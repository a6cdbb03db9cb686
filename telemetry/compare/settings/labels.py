"""Which run a comparison speaks of: what its screens and documents call it."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.format.manifest import Status
from telemetry.format.runs import SHORT_ID_LENGTH
from telemetry.json_values import Json
from telemetry.store.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabels:
    """A run as it is named, wherever its numbers come from; fields as those of `Run`."""

    run: str
    project: str
    name: str
    status: Status
    started: str
    steps: int
    config: Mapping[str, Json]
    tags: tuple[str, ...]
    metrics: Mapping[str, Json]

    @classmethod
    def of(cls, run: Run) -> "RunLabels":
        """Those of a recorded run."""
        return cls(
            run=run.run,
            project=run.project,
            name=run.name,
            status=run.status,
            started=run.started,
            steps=run.steps,
            config=run.config,
            tags=run.tags,
            metrics=run.metrics,
        )

    @property
    def short(self) -> str:
        """The short id shown on screens."""
        return self.run[-SHORT_ID_LENGTH:]

    @property
    def label(self) -> str:
        """Name and short id."""
        return f"{self.name} ({self.short})"

    def to_json(self) -> dict[str, Json]:
        """The `run` object of every `--json` document."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
