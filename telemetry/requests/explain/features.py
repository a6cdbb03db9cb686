"""`telemetry explain features`: what activates the units of a layer, and how that came about."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from telemetry.errors import UsageError
from telemetry.requests.kinds import ExplainKind, Row
from telemetry.requests.layers import LAYER_ORDER, LAYER_TABLE, about_layer
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting

UNITS, UNITS_OF_EVOLUTION = 9, 3
DECONVOLUTION, TOP_EXAMPLES, EVOLUTION = "deconv", "top_examples", "evolution"  # kinds of rows


def unit_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas.

    Raises:
        ValueError: one is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ValueError("write numbers, such as 0,3,7")
    return tuple(map(int, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesSettings:
    """Which units are shown, and of how many examples; without a limit of all."""

    units: Annotated[
        tuple[int, ...],
        Setting(
            "Show these channels, features or classes, such as 0,3,7.",
            metavar="U,U",
            read=unit_numbers,
        ),
    ] = ()
    top: Annotated[
        int | None,
        Setting(
            "Show the N most selective units (default 9; with --evolution 3).", metavar="N", least=1
        ),
    ] = None
    evolution: Annotated[bool, Setting("Also show every checkpoint of the run.")] = False
    checkpoints: Annotated[
        str | None,
        Setting("Checkpoint files (default: those that the run names).", metavar="PATTERN"),
    ] = None
    limit: Annotated[
        int | None, Setting("Search only N examples, spread evenly.", metavar="N", least=1)
    ] = None
    batch: Batch = 64

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: units are named and chosen, or files have no use.
        """
        if self.units and self.top is not None:
            raise UsageError(
                "--units names the units and --top chooses them; use only one of the two."
            )
        if self.checkpoints is not None and not self.evolution:
            raise UsageError(
                "--checkpoints is only for --evolution; use --checkpoint for one file."
            )

    @property
    def n_units(self) -> int:
        """How many units are chosen where none is named."""
        return self.top or (UNITS_OF_EVOLUTION if self.evolution else UNITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesRequest(ExplainRequest):
    """Show what activates the units of a layer, and how that came about.

    Attributes:
        files: The checkpoints of one run for its evolution, in the order they were written.
    """

    layer: Annotated[str, Setting("Module to explain, or `output`.", metavar="LAYER")]
    settings: FeaturesSettings = FeaturesSettings()
    files: tuple[str, ...] = ()


def _answer_id(row: Row) -> str:
    """The id of the question: units are drawn on one page that has its name."""
    image = row["image_path"]
    if row["kind"] == EVOLUTION or not image:
        return str(row["viz_id"])
    return PurePosixPath(str(image)).stem


KIND = ExplainKind(
    name="features",
    verb="explain.features",
    request=FeaturesRequest,
    room="units",
    doing="searching",
    key="features",
    table=LAYER_TABLE,
    identity="viz_id",
    order=LAYER_ORDER,
    shown=("layer", "step", "unit", "objective", "dead", "example_ids", "cka_to_last"),
    about=about_layer,
    row_kinds=frozenset({DECONVOLUTION, TOP_EXAMPLES, EVOLUTION}),
    answer_id=_answer_id,
)
