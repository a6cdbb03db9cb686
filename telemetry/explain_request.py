"""What a command asks of the process that runs the model: plain values that travel as JSON.

The command line knows no torch: it writes a request to the child's standard input and reads one
answer from its standard output.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from telemetry.errors import UsageError
from telemetry.json_values import Json

EXPLAIN_KEY = "explain"  # of run.json
MESSAGE_MARK = "\x1e"  # begins a line of the child that is a message and not somebody's print


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSpec:
    """How the model of a run can be built again, for `TelemetryCallback(explain=...)`.

    Attributes:
        model: Entry point `package.module:callable` that returns the module.
        dataset: Entry point of a data set, or of a callable that returns one.
        model_args: Arguments of the model's entry point.
        checkpoint: File of its weights, or a pattern; the newest that fits counts.
        state_key: Where in the file the state dict lies.
    """

    model: str
    dataset: str | None = None
    model_args: Mapping[str, Json] | None = None
    checkpoint: str | None = None
    state_key: str | None = None

    def to_json(self) -> dict[str, Json]:
        """As it stands in run.json."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where model, weights and examples come from; see `telemetry.explain.load`."""

    model: str | None = None
    model_args: str = "{}"
    checkpoint: str | None = None
    state_key: str | None = None
    dataset: str | None = None
    device: str = "cpu"
    output_key: str | None = None
    output_fn: str | None = None
    app_dir: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Run every example through the model.

    Attributes:
        source: Model and examples.
        checkpoints: Files of weights, each an evaluation; none: that of `source`.
        run: Folder of the run that the rows go to; None: they are not kept.
        batch: Examples a forward.
        limit: The first so many examples only.
        verb: Tells requests apart.
    """

    source: ModelSource
    checkpoints: tuple[str, ...] = ()
    run: str | None = None
    batch: int = 64
    limit: int | None = None
    verb: str = "evaluate"

    def to_json(self) -> dict[str, Json]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> Self:
        """The request of a document.

        Raises:
            UsageError: it has other fields.
        """
        source, checkpoints = document.get("source"), document.get("checkpoints")
        known = {field.name for field in fields(cls)}
        if not isinstance(source, Mapping) or not isinstance(checkpoints, list):
            raise UsageError(f"not a request: {json.dumps(document)[:200]}")
        values = {name: document[name] for name in known - {"source", "checkpoints"}}
        return cls(
            source=ModelSource(**source),
            checkpoints=tuple(map(str, checkpoints)),
            **values,  # type: ignore[arg-type] - written by our own command line
        )


def matching_files(pattern: str, folder: Path) -> list[Path]:
    """The files that fit a pattern, relative ones from a folder, the oldest first."""
    anchor = Path(pattern).anchor
    base = Path(anchor) if anchor else folder
    found = [path for path in base.glob(pattern.removeprefix(anchor)) if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))
