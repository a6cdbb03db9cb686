"""Options of the verbs that run a model, and where its parts come from: the run, else the user.

Entry points run code. Those that a run names are followed only where a signature says that this
user recorded it; of any other they are printed and refused, unless the user trusts them.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from telemetry.errors import UsageError
from telemetry.format.ownership import doubt
from telemetry.requests.models import EXPLAIN_KEY, ModelSource, matching_files
from telemetry.store.runs.run import Run

if TYPE_CHECKING:
    from telemetry.json_values import Json

ENTRIES = ("model", "dataset", "train", "output_fn")  # they run code
DATA_SETS = ("dataset", "train")  # of any model
TEXTS = (*ENTRIES, "checkpoint", "state_key", "output_key")

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = (
    click.option("--model", metavar="MODULE:NAME", help="Function that builds the model."),
    click.option(
        "--model-args", metavar="JSON", help="Arguments of the model function, as a JSON object."
    ),
    click.option(
        "--checkpoint", metavar="FILE", help="File with weights; a pattern selects the newest."
    ),
    click.option("--state-key", metavar="KEY", help="Key of the state dict in the file."),
    click.option(
        "--dataset", metavar="MODULE:NAME", help="Data set, or a function that returns it."
    ),
    click.option("--device", default="cpu", show_default=True, help="Device to run the model on."),
    click.option(
        "--output-key", metavar="KEY", help="Part of the output to use, if it is not a tensor."
    ),
    click.option(
        "--output-fn", metavar="MODULE:NAME", help="Function that turns the output into a tensor."
    ),
    click.option(
        "--app-dir",
        metavar="DIR",
        default=".",
        show_default=True,
        help="Folder that contains your modules.",
    ),
    click.option(
        "--trust-run", is_flag=True, help="Run the code that a run recorded elsewhere names."
    ),
)

TIMEOUT = click.option(
    "--timeout",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="Give up after this many seconds.",
)


def model_options(body: Callable[P, R]) -> Callable[P, R]:
    """Adds the options that name model, weights and examples."""
    for option in reversed(OPTIONS):
        body = option(body)
    return body


def source_of(run: Run | None, given: Mapping[str, str | None], *, trust: bool) -> ModelSource:
    """Where the parts come from: what the user gave, else what the run says.

    Args:
        run: The run, if one is meant.
        given: Fields of `ModelSource` by the options; None for those that were not given.
        trust: Whether entry points of a foreign run may be followed.

    Raises:
        UsageError: no model is named anywhere, or a foreign run names it.
    """
    stated = _stated(run)
    asked = {name: value for name, value in given.items() if value is not None}
    reason = None if trust or run is None else _doubt(run)
    is_trusted = reason is None
    if "model" in asked and not (is_trusted and asked["model"] == stated.get("model")):
        # The arguments and weights of the run are not meant for another model.
        stated = {name: value for name, value in stated.items() if name in DATA_SETS}
    used = {name: value for name, value in stated.items() if name not in asked}
    entries = [used[name] for name in ENTRIES if name in used]
    if run is not None and entries and not is_trusted:
        raise UsageError(
            f"{run.run} names the code {', '.join(entries)}, which would run with its model, "
            f"and {reason}. If you trust it, use --trust-run, or name --model and --dataset."
        )
    source = ModelSource(**{**used, **asked})
    if source.model is None:
        raise UsageError(
            "no model was given; name it with --model package.module:callable, or record the "
            "run with TelemetryCallback(explain=ExplainSpec(model=...))."
        )
    return source


def as_words(given: Mapping[str, str | None]) -> list[str]:
    """The options that were given, as they were typed: a command to go on with needs them, too."""
    defaults = {option.name: option.default for option in ModelSource.__dataclass_fields__.values()}
    return [
        word
        for name, value in given.items()
        if value is not None and value != defaults.get(name)
        for word in (f"--{name.replace('_', '-')}", shlex.quote(value))
    ]


def names_weights(run: Run, given: Mapping[str, str | None]) -> bool:
    """Whether weights can be loaded: the user names a model, or the run model and checkpoint."""
    stated = {**_stated(run), **{name: value for name, value in given.items() if value is not None}}
    return given.get("model") is not None or {"model", "checkpoint"} <= stated.keys()


def weights_of(source: ModelSource, folder: Path) -> list[Path]:
    """The files that `source.checkpoint` means, oldest first; empty where it names none.

    Raises:
        UsageError: no file fits.
    """
    if source.checkpoint is None:
        return []
    found = matching_files(source.checkpoint, folder)
    if not found:
        raise UsageError(f"--checkpoint {source.checkpoint}: no file matches in {folder}.")
    return found


def newest_weights(source: ModelSource, folder: Path) -> ModelSource:
    """The source with the newest file that its checkpoint means.

    Raises:
        UsageError: no file fits.
    """
    found = weights_of(source, folder)
    return replace(source, checkpoint=str(found[-1])) if found else source


def _doubt(run: Run) -> str | None:
    """Why it is not known that this user recorded a run; None: it is, or it names nothing."""
    manifest = run.manifest
    if manifest is None or EXPLAIN_KEY not in manifest.extra:
        return None
    return doubt(manifest.run, manifest.project, manifest.extra)


def _stated(run: Run | None) -> dict[str, str]:
    """What run.json says under `explain`, as texts; its model arguments as JSON."""
    document = run.manifest.extra.get(EXPLAIN_KEY) if run and run.manifest else None
    if not isinstance(document, Mapping):
        return {}
    found = {name: str(document[name]) for name in TEXTS if document.get(name) is not None}
    arguments: Json = document.get("model_args")
    if isinstance(arguments, Mapping):
        found["model_args"] = json.dumps(arguments)
    return found
