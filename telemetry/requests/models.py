"""What every request to the process that runs a model says: which model, and where results go.

The command line knows no torch: it writes a request to the child's standard input and reads one
answer from its standard output.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from telemetry.json_values import Json
from telemetry.requests.values import Request

DIGEST_CHARACTERS = 16
INSTALL = "pip install 'training-telemetry[explain]'"
EXPLAIN_KEY = "explain"  # of run.json
LIVE = "live"  # begins what weights are called that come from no file
REQUESTS, ANSWERS = "requests", "answers"  # of a document that holds several
MESSAGE_MARK = "\x1e"  # begins a line of the child that is a message and not somebody's print


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSpec:
    """How the model of a run can be built again, for `TelemetryCallback(explain=...)`.

    Attributes:
        model: Entry point `package.module:callable` that returns the module.
        dataset: Entry point of a data set, or of a callable that returns one.
        train: The same of the examples that it was trained on, for `explain coverage`.
        model_args: Arguments of the model's entry point.
        checkpoint: File of its weights, or a pattern; the newest that fits counts.
        state_key: Where in the file the state dict lies.
        output_key: Which entry of an output that is a dictionary, dataclass or tuple.
        output_fn: Entry point of a function that takes the output to a tensor.
    """

    model: str
    dataset: str | None = None
    train: str | None = None
    model_args: Mapping[str, Json] | None = None
    checkpoint: str | None = None
    state_key: str | None = None
    output_key: str | None = None
    output_fn: str | None = None

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
    train: str | None = None
    device: str = "cpu"
    output_key: str | None = None
    output_fn: str | None = None
    app_dir: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Where the results of a question go.

    Attributes:
        run: Folder of the run that gets the rows; None: no rows are kept.
        files: Folder of pictures and arrays, the run's or another; None: none are made.
        takes_large: Whether arrays above 16 MiB are kept, too.
    """

    run: str | None = None
    files: str | None = None
    takes_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest(Request):
    """A question about a model.

    Attributes:
        source: Model, weights and examples.
    """

    source: ModelSource = ModelSource()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest(ModelRequest):
    """A question of `telemetry explain`; what else is asked is said by its kind.

    Attributes:
        keep: Where the results go.
        timeout_s: After which what was found is the answer; None: it may take any time.
    """

    keep: Keep = Keep()
    timeout_s: float | None = None


def file_digest(path: Path) -> str:
    """First 16 characters of the sha256 of a file's content: which weights they are."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:DIGEST_CHARACTERS]


def matching_files(pattern: str, folder: Path) -> list[Path]:
    """The files that fit a pattern, relative ones from a folder, the oldest first."""
    anchor = Path(pattern).anchor
    base = Path(anchor) if anchor else folder
    try:
        fitting = list(base.glob(pattern.removeprefix(anchor)))
    except ValueError:  # '' is no pattern, nor is **x
        fitting = []
    found = [path for path in fitting if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))
