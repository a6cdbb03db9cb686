"""What a command asks of the process that runs the model: plain values that travel as JSON.

The command line knows no torch: it writes a request to the child's standard input and reads one
answer from its standard output.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from telemetry.errors import UsageError
from telemetry.json_values import Json

T = TypeVar("T", int, str)

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
        try:
            return cls(
                source=_source(document["source"]),
                checkpoints=_texts(document["checkpoints"]),
                run=_optional(document["run"], str),
                batch=_optional(document["batch"], int) or 1,
                limit=_optional(document["limit"], int),
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"not a request to evaluate: {json.dumps(document)[:200]}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRequest:
    """Say which parts of inputs made the model answer as it does.

    Attributes:
        source: Model, weights and examples.
        examples: Ids or places.
        run: Folder of the run that the results go to; None: they are not kept.
        target: `wrong`, `pred`, `true` or a class.
        method: See `telemetry.explain.methods`.
        segments: See `telemetry.explain.segments`.
        baseline: See `telemetry.explain.baselines`.
        samples: Of LIME and KernelSHAP.
        seed: Of what is drawn.
        batch: Inputs a forward.
        check: Also the checks that cost several times the method.
        embedding: Module that embeds tokens.
        verb: Tells requests apart.
    """

    source: ModelSource
    examples: tuple[str, ...]
    run: str | None = None
    target: str = "wrong"
    method: str = "ig"
    segments: str | None = None
    baseline: str | None = None
    samples: int | None = None
    seed: int = 0
    batch: int = 64
    check: bool = True
    embedding: str | None = None
    verb: str = "explain.input"

    def to_json(self) -> dict[str, Json]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> Self:
        """The request of a document.

        Raises:
            UsageError: it has other fields.
        """
        try:
            return cls(
                source=_source(document["source"]),
                examples=_texts(document["examples"]),
                run=_optional(document["run"], str),
                target=_optional(document["target"], str) or "",
                method=_optional(document["method"], str) or "",
                segments=_optional(document["segments"], str),
                baseline=_optional(document["baseline"], str),
                samples=_optional(document["samples"], int),
                seed=_optional(document["seed"], int) or 0,
                batch=_optional(document["batch"], int) or 1,
                check=document["check"] is True,
                embedding=_optional(document["embedding"], str),
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"not a request to explain: {json.dumps(document)[:200]}") from error


def _source(document: Json) -> ModelSource:
    if not isinstance(document, Mapping):
        raise TypeError(document)
    given = {name: text for name, text in document.items() if text is not None}
    return ModelSource(**{name: _optional(text, str) or "" for name, text in given.items()})


def _texts(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(value)
    return tuple(map(str, value))


def _optional(value: Json, kind: type[T]) -> T | None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(value)
    return value


def matching_files(pattern: str, folder: Path) -> list[Path]:
    """The files that fit a pattern, relative ones from a folder, the oldest first."""
    anchor = Path(pattern).anchor
    base = Path(anchor) if anchor else folder
    found = [path for path in base.glob(pattern.removeprefix(anchor)) if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))
