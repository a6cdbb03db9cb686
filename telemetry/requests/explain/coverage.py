"""`telemetry explain coverage`: what a test set has and a training set lacks."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import ExplainKind
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting, Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageSettings:
    """How the sets are compared."""

    layer: Annotated[
        str | None,
        Setting(
            "Layer whose output represents an example (default: the input of the last linear "
            "layer).",
            metavar="LAYER",
        ),
    ] = None
    k: Annotated[int, Setting("Number of neighbours to compare.", least=1)] = 5
    seed: Annotated[
        int, Setting("Random seed for the sample of a large training set.", metavar="N")
    ] = 0
    batch: Batch = 64
    tolerance: Tolerance = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRequest(ExplainRequest):
    """Say what a test set has and a training set lacks."""

    train: Annotated[
        str | None,
        Setting(
            "Training examples to compare with (default: those that the run names).",
            metavar="MODULE:NAME",
        ),
    ] = None
    test: Annotated[
        str | None, Setting("Test examples (default: --dataset).", metavar="MODULE:NAME")
    ] = None
    settings: CoverageSettings = CoverageSettings()


KIND = ExplainKind(
    name="coverage",
    verb="explain.coverage",
    request=CoverageRequest,
    room="training_gaps",
    doing="comparing",
    key="coverages",
    table="coverage",
    identity="coverage_id",
    order=("finding DESC", "reported DESC", "outside_n"),
    unread=frozenset({"shift_sd", "p", "neighbours"}),
    shown=(
        "attribute",
        "train_low",
        "train_high",
        "outside_n",
        "outside_share",
        "error_outside",
        "error_inside",
        "finding",
    ),
    about=lambda rows: f"{rows[0]['test_dataset']} by {rows[0]['train_dataset']}",
)
