"""Which models a command is about: those of runs, and checkpoints that no run is named for."""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import telemetry
from telemetry.cli.models.options import TEXTS, source_of
from telemetry.errors import RunNotFound, StoreUnreadable, UsageError
from telemetry.requests.models import ModelSource
from telemetry.store.runs.checkpoint_runs import checkpoint_run, kept_run

if TYPE_CHECKING:
    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run

SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors"})  # of checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """A model, and the run that keeps what is found out about it.

    Attributes:
        run: Of the store, or that of a checkpoint, which the store may not have yet.
        source: Model, weights and examples; the checkpoint may be a pattern.
        is_bare: Whether the weights themselves were named.
    """

    run: "Run"
    source: ModelSource
    is_bare: bool


def asked_models(
    store: Path, names: Sequence[str], given: Mapping[str, str | None], *, trust: bool
) -> list[AskedModel]:
    """The models that selectors and files of weights mean, each once; writes nothing.

    Args:
        store: Folder of the runs.
        names: What the user typed.
        given: Fields of `ModelSource` by the options; None for those that were not given.
        trust: Whether entry points of foreign runs may be followed.

    Raises:
        RunNotFound: a name is no run and no file.
        UsageError: a model cannot be built by what is known; see `source_of`.
    """
    found = []
    for name in names:
        run, file = run_or_weights(store, name)
        own = given if file is None else with_weights(given, file)
        source = source_of(run, own, trust=trust)
        found.append(AskedModel(run=run, source=source, is_bare=file is not None))
    return list({model.run.ref.path: model for model in found}.values())


@contextmanager
def kept_models(models: Sequence[AskedModel]) -> Iterator[None]:
    """A block in which every model has a run that keeps its results; see `kept_run`."""
    with ExitStack() as stack:
        for model in models:
            if model.is_bare:
                stack.enter_context(kept_run(model.run, spec_of(model.source)))
        yield


def run_or_weights(store: Path, name: str) -> "tuple[Run, Path | None]":
    """The run that a selector means, or that of a checkpoint, and the file of its weights then.

    Raises:
        RunNotFound: it is no run and no file.
        UsageError: it can only be a file, and there is none.
    """
    file = Path(name)
    if file.is_file() and (file.suffix in SUFFIXES or os.sep in name):
        return checkpoint_run(store, file), file
    try:
        return telemetry.Store.open(store).select(name), None
    except (RunNotFound, StoreUnreadable) as error:
        if file.is_file():
            return checkpoint_run(store, file), file
        if file.suffix in SUFFIXES:
            told = f"{name}: there is neither a checkpoint file nor a run with that name."
            raise UsageError(told) from error
        raise


def with_weights(given: Mapping[str, str | None], file: Path) -> Mapping[str, str | None]:
    """The options with a file as the checkpoint.

    Raises:
        UsageError: they name another.
    """
    if given.get("checkpoint") is not None:
        raise UsageError(f"{file} is already a checkpoint; remove --checkpoint.")
    return {**given, "checkpoint": glob.escape(str(file.absolute()))}


def spec_of(source: ModelSource) -> "dict[str, Json]":
    """What builds a model again, as run.json keeps it."""
    texts = {name: getattr(source, name) for name in TEXTS}
    known = {name: value for name, value in texts.items() if value is not None}
    arguments = json.loads(source.model_args)
    return {**known, "model_args": arguments} if arguments else known
