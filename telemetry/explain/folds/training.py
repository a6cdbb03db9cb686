"""Trains one configuration on one fold, as a run of the store; whatever happens, it is counted."""

import math
import random
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

import telemetry
from telemetry.capture.callback import TelemetryCallback
from telemetry.capture.steps.options import OnFinding
from telemetry.compare.settings.repeats import CV_TAG, HOLDOUT_TAG, NESTED_TAG
from telemetry.errors import StoreUnreadable, TrainingStopped, UsageError
from telemetry.evaluate.cross_validation.scores import Training
from telemetry.explain.folds.folds import Fold, Indices
from telemetry.json_values import Json

SCORE = "score"  # name of a score that is returned as a number alone
OK, DIVERGED, FAILED = "ok", "diverged", "failed"
CONFIG_TAG = "config="


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTask:
    """One configuration on one fold, and where its run goes."""

    cv_id: str
    config_id: str
    parameters: Mapping[str, Json]
    fold: Fold
    store: Path
    project: str

    @property
    def name(self) -> str:
        """Name of the run."""
        fold = self.fold
        place = HOLDOUT_TAG if fold.is_holdout else f"{fold.repeat}.{fold.fold}"
        within = "" if fold.inner is None else f"-{fold.inner[0]}of{fold.inner[1]}"
        return f"cv-{self.config_id[:4]}-{place}{within}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the run."""
        own = (f"{CV_TAG}{self.cv_id}", f"{CONFIG_TAG}{self.config_id}")
        if self.fold.is_holdout:
            return (*own, HOLDOUT_TAG)
        return own if self.fold.inner is None else (*own, NESTED_TAG)

    @property
    def training(self) -> Training:
        """What tells it from all others of its cross-validation."""
        return self.config_id, self.fold.place, self.fold.inner

    @property
    def config(self) -> Mapping[str, Json]:
        """Configuration of the run; among the runs of a cross-validation, the seed tells which."""
        fold = self.fold
        is_fold = not fold.is_holdout and fold.inner is None
        place = {"fold": fold.fold, "repeat": fold.repeat} if is_fold else {}
        return {**self.parameters, **place, "seed": fold.seed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a task.

    Attributes:
        run: Folder of its run; None when the process died before it had one.
        status: `ok`, `diverged` or `failed`.
        values: The scores by name; empty unless `ok`.
        error: What went wrong.
    """

    run: Path | None
    status: str
    values: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


class FoldCallback:
    """Makes the TelemetryCallback of a fold: `callback(model, optimizer)` in `train_and_score`.

    Store, project, name, configuration and tags are those of the fold.
    """

    def __init__(self, task: FoldTask) -> None:
        self._task = task
        self._made: TelemetryCallback | None = None

    def __call__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None,
        *,
        total_steps: int | None = None,
        probe: object = None,
        on_finding: OnFinding | None = None,
    ) -> TelemetryCallback:
        """The callback of this fold's training; the arguments are those of TelemetryCallback.

        Raises:
            UsageError: the fold has one already: it is one run.
        """
        if self._made is not None:
            raise UsageError(
                "callback(model, optimizer) was called twice, but a fold is a single run."
            )
        task = self._task
        self._made = TelemetryCallback(
            model,
            optimizer,
            store=task.store,
            project=task.project,
            name=task.name,
            config=task.config,
            tags=task.tags,
            total_steps=total_steps,
            probe=probe,
            on_finding=on_finding,
            quiet=True,
        )
        return self._made

    def end(self, error: BaseException | None = None) -> Path:
        """Close the run, which is made now if the training did without; returns its folder.

        Raises:
            StoreUnreadable: nothing could be recorded.
        """
        made = self._made or self(nn.Identity(), None)
        if error is None:
            made.close()
        else:
            made.fail(error)
        if made.path is None:
            raise StoreUnreadable(
                f"{self._task.store}: the run of a fold could not be recorded; is the folder "
                "writable?"
            )
        return made.path


class TrainAndScore(Protocol):
    """What the user writes: train on some examples, score others."""

    def __call__(
        self,
        params: dict[str, Json],
        train_idx: Indices,
        test_idx: Indices,
        seed: int,
        callback: FoldCallback,
        /,
    ) -> float | Mapping[str, float]:
        """The score, or several by name."""
        ...


def train_fold(train_and_score: TrainAndScore, task: FoldTask) -> Outcome:
    """Call the user's function for a fold; its exceptions are outcomes, Ctrl-C is not."""
    callback = FoldCallback(task)
    parameters = deepcopy(dict(task.parameters))
    fold = task.fold
    try:
        with seeded(fold.seed):
            returned = train_and_score(
                parameters, fold.train_idx.copy(), fold.test_idx.copy(), fold.seed, callback
            )
        values = scores_in(returned)
    except TrainingStopped as error:
        return Outcome(run=callback.end(error), status=DIVERGED, error=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        told = f"{type(error).__name__}: {error}".splitlines()[0] + _place(error)
        return Outcome(run=callback.end(error), status=FAILED, error=told)
    except BaseException as error:
        callback.end(error)
        raise
    broken = sorted(name for name, value in values.items() if not math.isfinite(value))
    if broken:
        told = f"{broken[0]} is {values[broken[0]]}"
        return Outcome(run=callback.end(), status=DIVERGED, error=told)
    return Outcome(run=callback.end(), status=OK, values=values)


def _place(error: BaseException) -> str:
    """The deepest line outside of installed packages that an exception went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_installed(frame.filename)]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _is_installed(filename: str) -> bool:
    """Whether code is no user's: of this package, of another that is installed, or of Python."""
    folders = {Path(telemetry.__file__).parent, *map(Path, sysconfig.get_paths().values())}
    return any(Path(filename).is_relative_to(folder) for folder in folders)


def scores_in(returned: object) -> dict[str, float]:
    """Scores by name of what the user's function returned.

    Raises:
        TypeError: it is neither a number nor a dict of numbers.
    """
    named = returned if isinstance(returned, Mapping) else {SCORE: returned}
    try:
        found = {str(name): _number(value) for name, value in named.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(_WRONG.format(type(returned).__name__)) from error
    if not found:
        raise TypeError(_WRONG.format("an empty dict"))
    return found


_WRONG = "train_and_score returned {}; return a number, or a dict of numbers by name"


def _number(value: object) -> float:
    """A number, or the only value of an array or tensor.

    Raises:
        TypeError: it is a text, or nothing at all.
    """
    if not hasattr(value, "__float__") or isinstance(value, str):
        raise TypeError(value)
    as_float: Callable[[], float] = value.__float__
    return float(as_float())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block with the global generators seeded; their states are put back after it."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's global one
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
