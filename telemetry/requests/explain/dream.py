"""`telemetry explain dream`: make pictures that excite units of a layer."""

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

    steps: Annotated[int, Setting("Of the ascent.", least=1)] = 128
    smooth: Annotated[float, Setting("Weight of smoothness.", flag="--tv", least=0)] = 1.0
    jitter: Annotated[int | None, Setting("Most pixels of a shift; else a twelfth.", least=0)] = (
        None
    )
    start: Annotated[
        str, Setting("noise, or an example or image file to begin with.", metavar="ID|FILE")
    ] = NOISE
    octaves: Annotated[int, Setting("From coarse to fine.", least=1, most=10)] = 1
    limit: Annotated[int, Setting("Real examples it is set beside.", metavar="N", least=2)] = 256
    seed: Annotated[int, Setting("Of noise and shifts.", metavar="N")] = 0
    batch: Batch = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamRequest(ExplainRequest):
    """Make pictures that excite units of a layer."""

    layer: Annotated[str, Setting("A module, or output: before softmax.", metavar="LAYER")]
    units: Annotated[
        tuple[str, ...],
        Setting(
            "Channel, feature or class; 7@3,4 is one place. Repeatable.",
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
