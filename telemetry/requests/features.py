"""What the parts of `telemetry explain` about layers ask of the process that runs the model."""

from dataclasses import dataclass

from telemetry.requests.explain import Keep, ModelSource
from telemetry.requests.values import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest(Request):
    """Describe and draw the weights of layers.

    Attributes:
        source: Model and weights.
        layer: A module or parameter; None: every one that has a matrix or kernels.
        initial: File of the oldest weights; None where there is but one.
        keep: Where the results go.
        top: Rows that are drawn, those of the largest norms.
        seed: Of the fresh layers.
        verb: Tells requests apart.
    """

    source: ModelSource
    layer: str | None = None
    initial: str | None = None
    keep: Keep
    top: int = 64
    seed: int = 0
    verb: str = "explain.weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class DreamRequest(Request):
    """Make pictures that excite units of a layer.

    Attributes:
        source: Model, weights and examples.
        layer: A module, or `output`.
        units: `7`, or `7@3,4` for one place.
        keep: Where the results go.
        steps: Of the ascent.
        smooth: Weight of the total variation.
        jitter: Most pixels of a shift; None: a twelfth of the side.
        octaves: From coarse to fine.
        start: `noise`, or the id or place of an example.
        limit: Real examples that the pictures are set beside.
        seed: Of noise and shifts.
        batch: Inputs a forward.
        verb: Tells requests apart.
    """

    source: ModelSource
    layer: str
    units: tuple[str, ...]
    keep: Keep
    steps: int = 128
    smooth: float = 1.0
    jitter: int | None = None
    octaves: int = 1
    start: str = "noise"
    limit: int = 256
    seed: int = 0
    batch: int = 64
    verb: str = "explain.dream"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesRequest(Request):
    """Show what excites the units of a layer, and how that came about.

    Attributes:
        source: Model, weights and examples.
        layer: A module, or `output`.
        units: Which; none: those that stand out most.
        top: How many of these.
        checkpoints: Files of one run for its evolution, in the order they were written.
        evolution: Whether that is asked for.
        keep: Where the results go.
        limit: Examples that are searched; None: all.
        batch: Inputs a forward.
        verb: Tells requests apart.
    """

    source: ModelSource
    layer: str
    units: tuple[int, ...] = ()
    top: int = 9
    checkpoints: tuple[str, ...] = ()
    evolution: bool = False
    keep: Keep
    limit: int | None = None
    batch: int = 64
    verb: str = "explain.features"
