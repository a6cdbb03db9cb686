"""`telemetry explain perturb`: change one thing of examples until the answer turns wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from telemetry.errors import UsageError
from telemetry.requests.kinds import ExplainKind, Row
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting, Tolerance, names


def both_ends(text: str) -> tuple[float, float]:
    """Both ends of LOW:HIGH.

    Raises:
        ValueError: it says no two numbers.
    """
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise ValueError("write LOW:HIGH, such as -0.3:0.3") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbSettings:
    """How an axis is walked; without a span over all of it."""

    steps: Annotated[int, Setting("Number of values to try.", least=3)] = 21
    span: Annotated[
        tuple[float, float] | None,
        Setting("Lowest and highest value.", flag="--range", metavar="LOW:HIGH", read=both_ends),
    ] = None
    seed: Annotated[int, Setting("Random seed for noise and the choice of words.", metavar="N")] = 0
    batch: Batch = 64
    limit: Annotated[
        int | None, Setting("With --all: use only the first N examples.", metavar="N", least=1)
    ] = None
    tolerance: Tolerance = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Examples that fulfil a condition.

    Attributes:
        where: The condition, over `example_evals`.
        ids: Of the examples.
    """

    where: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbRequest(ExplainRequest):
    """Change one thing of examples, more and more, until the answer turns wrong."""

    examples: Annotated[
        tuple[str, ...],
        Setting(
            "Change the example with this id or position; repeatable.",
            flag="--example",
            metavar="ID",
        ),
    ] = ()
    whole: Annotated[bool, Setting("Measure the accuracy on the whole data set.", flag="--all")] = (
        False
    )
    where: Annotated[
        str | None,
        Setting(
            "Measure the accuracy on the examples that meet this condition, as of `slices`.",
            metavar="SQL",
        ),
    ] = None
    axes: Annotated[
        tuple[str, ...],
        Setting(
            "What to change: brightness, contrast, gamma, hue, saturation, blur, noise, rotate, "
            "shift, scale, crop, jpeg; token-drop, case, typo, synonym[:FILE.json]; "
            "feature:COLUMN.",
            flag="--axis",
            metavar="AXIS,AXIS",
            read=names,
        ),
    ]
    settings: PerturbSettings = PerturbSettings()
    group: Group | None = None  # what the condition means; found where the answers are stored

    def __post_init__(self) -> None:
        """Refuse what names nothing to change.

        Raises:
            UsageError: not one of examples, the data set and a condition.
        """
        if (bool(self.examples), self.whole, self.where is not None).count(True) != 1:
            raise UsageError("use one of --example ID, --all and --where SQL.")


def _about(rows: Sequence[Row]) -> str:
    row = rows[0]
    who = f"example {row['example_id']}" if row["example_id"] else row["dataset"]
    who = f"{who} where {row['condition']}" if row.get("condition") else who
    return f"{who}, {row['axis']}"


KIND = ExplainKind(
    name="perturb",
    verb="explain.perturb",
    request=PerturbRequest,
    room="perturbation",
    doing="perturbing",
    key="perturbations",
    table="input_perturbations",
    identity="perturbation_id",
    order=("value",),
    shown=("value", "prediction", "p_label", "accuracy", "n"),
    about=_about,
)
