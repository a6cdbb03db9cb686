"""What a command asks of the process that runs the model: plain values that travel as JSON.

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
        model_args: Arguments of the model's entry point.
        checkpoint: File of its weights, or a pattern; the newest that fits counts.
        state_key: Where in the file the state dict lies.
        output_key: Which entry of an output that is a dictionary, dataclass or tuple.
        output_fn: Entry point of a function that takes the output to a tensor.
    """

    model: str
    dataset: str | None = None
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
class EvaluateRequest(Request):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesesRequest(Request):
    """Run the data sets that hypotheses ask for through the model.

    Attributes:
        source: Model and weights; the hypotheses name their data sets.
        definitions: Text of a file of hypotheses.
        place: Where the text comes from, for messages.
        run: Folder of the run that the rows go to.
        batch: Examples a forward.
        limit: The first so many examples of each data set only.
        verb: Tells requests apart.
    """

    source: ModelSource
    definitions: str
    place: str
    run: str
    batch: int = 64
    limit: int | None = None
    verb: str = "hypotheses.run"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRequest(Request):
    """Say which parts of inputs made the model answer as it does.

    Attributes:
        source: Model, weights and examples.
        examples: Ids or places.
        files: Inputs in files of their own (`telemetry.explain.inputs.input_files`); after these.
        label: True class of the files; None: not known.
        worst: Instead of these so many examples of the largest loss.
        limit: Of the first so many examples only; None: of all.
        keep: Where the results go.
        target: `wrong`, `pred`, `true` or a class.
        method: See `telemetry.explain.attribution.methods`.
        segments: See `telemetry.explain.inputs.segments`.
        baseline: See `telemetry.explain.attribution.baselines`.
        samples: Of LIME and KernelSHAP.
        compare: Method that must agree; None: occlusion.
        seed: Of what is drawn.
        batch: Inputs a forward.
        check: Also the checks that cost several times the method.
        embedding: Module that embeds tokens.
        verb: Tells requests apart.
    """

    source: ModelSource
    examples: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    label: str | None = None
    worst: int | None = None
    limit: int | None = None
    keep: Keep
    target: str = "wrong"
    method: str = "ig"
    segments: str | None = None
    baseline: str | None = None
    samples: int | None = None
    compare: str | None = None
    seed: int = 0
    batch: int = 64
    check: bool = True
    embedding: str | None = None
    verb: str = "explain.input"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbRequest(Request):
    """Change one thing of examples, more and more, until the answer turns wrong.

    Attributes:
        source: Model, weights and examples.
        examples: Ids or places; none: the whole data set at once.
        axes: See `telemetry.explain.perturbation.axes`.
        keep: Where the results go.
        steps: Values from end to end of an axis.
        low: Lowest value; None: that of the axis.
        high: Highest value.
        seed: Of what is drawn.
        batch: Inputs a forward.
        limit: The first so many examples of the set only.
        tolerance: Largest error of a regression that is still right.
        verb: Tells requests apart.
    """

    source: ModelSource
    examples: tuple[str, ...]
    axes: tuple[str, ...]
    keep: Keep
    steps: int = 21
    low: float | None = None
    high: float | None = None
    seed: int = 0
    batch: int = 64
    limit: int | None = None
    tolerance: float | None = None
    verb: str = "explain.perturb"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceRequest(Request):
    """Find the least difference between a wrong answer and a right one.

    Attributes:
        source: Model, weights and examples.
        wrong: Id or place of an example that is answered wrongly, or a file.
        right: Id or place of another, `nearest`, `blur` or `mean`; None: what fits.
        label: True class of the input of the file; None: the data set knows it.
        keep: Where the results go.
        cell: Side of a cell of an image, in pixels.
        mode: `repair` or `break`; None: both.
        most_calls: Mixtures that one search may ask about.
        immutable: Columns that stay as they are.
        batch: Inputs a forward.
        tolerance: Largest error of a regression that is still right.
        verb: Tells requests apart.
    """

    source: ModelSource
    wrong: str
    right: str | None = None
    label: str | None = None
    keep: Keep
    cell: int | None = None
    mode: str | None = None
    most_calls: int = 2000
    immutable: tuple[str, ...] = ()
    batch: int = 64
    tolerance: float | None = None
    verb: str = "explain.reduce"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRequest(Request):
    """Say what a test set has and a training set lacks.

    Attributes:
        source: Model and weights; its data set is the test set where none is named.
        train: Entry point of the training set.
        test: Entry point of the test set; None: the data set of `source`.
        keep: Where the results go.
        layer: Module whose output represents an example; None: the input of the last linear one.
        k: Neighbours that count.
        seed: Of the part of a large training set.
        batch: Inputs a forward.
        tolerance: Largest error of a regression that is still right.
        verb: Tells requests apart.
    """

    source: ModelSource
    train: str
    test: str | None = None
    keep: Keep
    layer: str | None = None
    k: int = 5
    seed: int = 0
    batch: int = 64
    tolerance: float | None = None
    verb: str = "explain.coverage"


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
