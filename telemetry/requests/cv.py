"""What `telemetry cv run` asks of the process that trains the folds."""

from dataclasses import dataclass

from telemetry.requests.kinds import RequestKind
from telemetry.requests.values import Request

TRAINING = "train_and_score(params, train_idx, test_idx, seed, callback)"
PROJECT = "cross-validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidateRequest(Request):
    """Train and score each configuration of a grid on each fold.

    Attributes:
        entry: Entry point of the user's function, called as `TRAINING` says.
        params: The grid as JSON: a list of values for each parameter.
        fixed: Further parameters as JSON, equal for every configuration.
        store: Folder of runs that the folds go to.
        n: Examples there are; None where labels or groups tell.
        labels: Entry point of the examples' classes, which every fold gets its share of.
        groups: Entry point of the examples' groups, none of which is split.
        folds: Folds a repetition.
        repeats: Repetitions, each with folds of its own.
        seed: Of the folds and the trainings.
        holdout: Share of the examples that no fold gets.
        nested: Inner folds by which a configuration is chosen that each fold judges.
        metric: The score by which the winner is chosen that is scored there.
        goal: Which way of it is better, as `Direction` says; None: by its name.
        jobs: Processes that train at the same time.
        project: Project of the runs.
        app_dir: Folder of the user's modules.
    """

    entry: str
    params: str
    fixed: str
    store: str
    n: int | None = None
    labels: str | None = None
    groups: str | None = None
    folds: int = 5
    repeats: int = 2
    seed: int = 0
    holdout: float | None = None
    nested: int | None = None
    metric: str | None = None
    goal: str | None = None
    jobs: int = 1
    project: str = PROJECT
    app_dir: str = "."


KIND = RequestKind(name="cv", verb="cv.run", request=CrossValidateRequest, room="folds")
