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
from telemetry.cli.model_options import TEXTS, source_of
from telemetry.errors import RunNotFound, StoreUnreadable, UsageError
from telemetry.explain_request import ModelSource
from telemetry.store.checkpoint_runs import checkpoint_run, kept_run

if TYPE_CHECKING:
    from telemetry.json_values import Json
    from telemetry.store.catalog import Run

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
    found = [_asked(store, name, given, trust=trust) for name in names]
    return list({model.run.ref.path: model for model in found}.values())


@contextmanager
def kept_models(models: Sequence[AskedModel]) -> Iterator[None]:
    """A block in which every model has a run that keeps its results; see `kept_run`."""
    with ExitStack() as stack:
        for model in models:
            if model.is_bare:
                stack.enter_context(kept_run(model.run, _spec(model.source)))
        yield


def _asked(store: Path, name: str, given: Mapping[str, str | None], *, trust: bool) -> AskedModel:
    file = Path(name)
    if file.is_file() and (file.suffix in SUFFIXES or os.sep in name):
        return _bare(store, file, given, trust=trust)
    try:
        run = telemetry.Store.open(store).select(name)
    except (RunNotFound, StoreUnreadable) as error:
        if file.is_file():
            return _bare(store, file, given, trust=trust)
        if file.suffix in SUFFIXES:
            raise UsageError(
                f"{name}: there is no such checkpoint, and no run of that name."
            ) from (error)
        raise
    return AskedModel(run=run, source=source_of(run, given, trust=trust), is_bare=False)


def _bare(store: Path, file: Path, given: Mapping[str, str | None], *, trust: bool) -> AskedModel:
    if given.get("checkpoint") is not None:
        raise UsageError(f"{file} is a checkpoint itself; leave out --checkpoint.")
    run = checkpoint_run(store, file)
    weights = glob.escape(str(file.absolute()))
    known = run if run.ref.path.exists() else None  # asked about before: it says what builds it
    source = source_of(known, {**given, "checkpoint": weights}, trust=trust)
    return AskedModel(run=run, source=source, is_bare=True)


def _spec(source: ModelSource) -> "dict[str, Json]":
    """What builds the model again, as run.json keeps it."""
    texts = {name: getattr(source, name) for name in TEXTS}
    known = {name: value for name, value in texts.items() if value is not None}
    arguments = json.loads(source.model_args)
    return {**known, "model_args": arguments} if arguments else known
