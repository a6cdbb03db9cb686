"""`telemetry explain dream`: make pictures that activate units of a layer."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import ExplainKind
from telemetry.requests.layers import LAYER_ORDER, LAYER_TABLE, about_layer
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting

NOISE = "noise"  # what a picture begins as
ROW_KIND = "dream"


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamSettings:
    """How pictures are made and judged.

    `steps` are of Adam, for each octave. `smooth` weighs the mean absolute difference of
    neighbours. `jitter` is how far a picture is shifted before it is shown, at first; it falls to
    none over three quarters of the steps.
    """

    steps: Annotated[int, Setting("Number of optimisation steps.", least=1)] = 128
    smooth: Annotated[float, Setting("Weight of the smoothness penalty.", flag="--tv", least=0)] = (
        1.0
    )
    jitter: Annotated[
        int | None, Setting("Maximum shift in pixels (default: a twelfth of the side).", least=0)
    ] = None
    start: Annotated[
        str, Setting("Start from noise, an example or an image file.", metavar="ID|FILE")
    ] = NOISE
    octaves: Annotated[int, Setting("Number of sizes, from coarse to fine.", least=1, most=10)] = 1
    limit: Annotated[
        int, Setting("Number of real examples to compare with.", metavar="N", least=2)
    ] = 256
    seed: Annotated[int, Setting("Random seed for noise and shifts.", metavar="N")] = 0
    batch: Batch = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamRequest(ExplainRequest):
    """Make pictures that activate units of a layer."""

    layer: Annotated[
        str, Setting("Module to explain, or `output` (before softmax).", metavar="LAYER")
    ]
    units: Annotated[
        tuple[str, ...],
        Setting(
            "Channel, feature or class; 7@3,4 is one position. Repeatable.",
            flag="--unit",
            metavar="U",
        ),
    ]
    settings: DreamSettings = DreamSettings()


KIND = ExplainKind(
    name="dream",
    verb="explain.dream",
    request=DreamRequest,
    room="units",
    doing="dreaming",
    key="dreams",
    table=LAYER_TABLE,
    identity="viz_id",
    order=LAYER_ORDER,
    shown=("objective", "z", "noise_mean", "noise_sd", "real_max", "example_ids"),
    about=about_layer,
    row_kinds=frozenset({ROW_KIND}),
)
