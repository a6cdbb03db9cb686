"""What a replayed training says at its end: how far it came, and what its remedies did."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from telemetry import json_values
from telemetry.json_values import Json, json_integer, json_list, json_object, json_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """The end of one replay.

    Attributes:
        run: Id of the run in the folder of the trial.
        n_steps: Optimizer steps completed.
        equal_steps: Steps whose losses must equal the control's, bit for bit; None where no remedy
            has changed anything.
        n_acts: How often remedies have changed something.
        refused: Why a remedy does not apply; None where all do.
        refusals: Of a survey: the same of each that does not, by its dose.
        failed: What has switched a remedy off on its way; None: nothing.
        idle: Doses that have changed nothing, of those that apply.
    """

    run: str | None = None
    n_steps: int = 0
    equal_steps: int | None = None
    n_acts: int = 0
    refused: str | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    failed: str | None = None
    idle: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file."""
        path.write_text(json_values.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "TrialReport | None":
        """What the file says; None where there is none, or the process died while writing it."""
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return cls.of(found) if isinstance(found, Mapping) else None

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> "TrialReport":
        """The report of its JSON object."""
        return cls(
            run=json_text(document.get("run")),
            n_steps=json_integer(document.get("n_steps"), least=0) or 0,
            equal_steps=json_integer(document.get("equal_steps"), least=0),
            n_acts=json_integer(document.get("n_acts"), least=0) or 0,
            refused=json_text(document.get("refused")),
            refusals={
                dose: str(why) for dose, why in json_object(document.get("refusals")).items()
            },
            failed=json_text(document.get("failed")),
            idle=tuple(map(str, json_list(document.get("idle")))),
        )
