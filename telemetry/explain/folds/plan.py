"""What a cross-validation is to train: every configuration on every fold, named before it begins.

Its id follows from the code, the folds and the seeds, so that the same call again goes on, and a
grid that has grown joins the scores that are there.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from telemetry.errors import UsageError
from telemetry.explain.folds.folds import Fold, Folds
from telemetry.explain.folds.training import FoldTask, TrainAndScore
from telemetry.json_values import Json
from telemetry.requests.cv import TRAINING


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """What is to be trained, and where the runs go.

    Attributes:
        cv_id: Id of the cross-validation; equal for equal code, folds and seeds.
        entry: The function that trains.
        parted: The folds, and the holdout if there is one.
        grid: Configurations, the incumbent first.
        store: Folder of runs.
        project: Project of the runs.
    """

    cv_id: str
    entry: str
    parted: Folds
    grid: Sequence[Mapping[str, Json]]
    store: Path
    project: str

    def tasks(self) -> Iterator[FoldTask]:
        """Every configuration on every fold: what is there can be compared at any time."""
        for fold in (*self.parted.folds, *self.parted.inner):
            for parameters in self.grid:
                yield self.task(parameters, fold)

    def task(self, parameters: Mapping[str, Json], fold: Fold) -> FoldTask:
        """One training."""
        return FoldTask(
            cv_id=self.cv_id,
            config_id=config_id(parameters),
            parameters=parameters,
            fold=fold,
            store=self.store,
            project=self.project,
        )


def make_plan(
    train_and_score: TrainAndScore,
    grid: Sequence[Mapping[str, Json]],
    parted: Folds,
    store: Path,
    project: str,
) -> FoldPlan:
    """The plan of a function, a grid and folds."""
    entry = f"{_name_of(train_and_score, '__module__')}:{_name_of(train_and_score, '__qualname__')}"
    return FoldPlan(
        cv_id=_digest([entry, _code_digest(train_and_score), parted.digest])[:12],
        entry=entry,
        parted=parted,
        grid=grid,
        store=store.absolute(),
        project=project,
    )


def config_id(parameters: Mapping[str, Json]) -> str:
    """Equal for equal parameters."""
    return _digest(parameters)[:8]


def as_training(train_and_score: object) -> TrainAndScore:
    """What can be called as a training is.

    Raises:
        UsageError: it cannot.
    """
    if not callable(train_and_score):
        raise UsageError(f"{train_and_score!r} cannot be called; it must be a function {TRAINING}.")
    try:
        inspect.signature(train_and_score).bind({}, (), (), 0, None)
    except TypeError as error:
        name = _name_of(train_and_score, "__qualname__")
        raise UsageError(f"{name} does not fit {TRAINING}: {error}.") from error
    except ValueError:  # it does not tell its parameters: the call will show
        pass
    return cast("TrainAndScore", train_and_score)


def plain_values(
    values: Iterable[int | float | str] | None,
) -> list[int | float | str] | None:
    """Labels or groups as a list, of tensors and arrays too.

    Raises:
        UsageError: they are not one value for each example.
    """
    if values is None:
        return None
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(found, list) or not all(
        isinstance(value, int | float | str) for value in found
    ):
        raise UsageError("labels and groups must have one number or text for each example.")
    return found


def _name_of(train_and_score: object, attribute: str) -> str:
    return str(getattr(train_and_score, attribute, type(train_and_score).__name__))


def _code_digest(train_and_score: object) -> str:
    """Digest of the file that defines the training: scores of other code are not paired with it."""
    named = train_and_score if inspect.isfunction(train_and_score) else type(train_and_score)
    try:
        path = inspect.getsourcefile(named)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
    except (TypeError, OSError):  # typed at a prompt
        return ""


def _digest(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
