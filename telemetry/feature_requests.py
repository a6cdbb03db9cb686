"""What the parts of `telemetry explain` about layers ask of the process that runs the model."""

from dataclasses import dataclass

from telemetry.explain_request import ModelSource
from telemetry.request_values import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest(Request):
    """Describe and draw the weights of layers.

    Attributes:
        source: Model and weights.
        layer: A module or parameter; None: every one that has a matrix or kernels.
        initial: File of the oldest weights; None where there is but one.
        run: Folder of the run that the results go to; None: they are not kept.
        top: Rows that are drawn, those of the largest norms.
        seed: Of the fresh layers.
        verb: Tells requests apart.
    """

    source: ModelSource
    layer: str | None = None
    initial: str | None = None
    run: str | None = None
    top: int = 64
    seed: int = 0
    verb: str = "explain.weights"
