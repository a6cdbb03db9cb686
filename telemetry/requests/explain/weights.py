"""`telemetry explain weights`: what the weights of layers look like."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import ExplainKind
from telemetry.requests.layers import LAYER_ORDER, LAYER_TABLE, about_layer
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Setting

ROW_KIND = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest(ExplainRequest):
    """Describe and draw the weights of layers, of every one that has a matrix or kernels.

    Attributes:
        step: Asks the run what it recorded, and no process with torch.
        initial: File of the oldest weights; None where there is but one.
    """

    layer: Annotated[
        str | None, Setting("Module or parameter.", argument=True, metavar="[LAYER]")
    ] = None
    top: Annotated[int, Setting("Draw at most N rows, largest norms first.", least=1)] = 64
    step: Annotated[
        int | None,
        Setting(
            "Show norms and histograms that the run recorded at this step.", metavar="S", least=0
        ),
    ] = None
    seed: Annotated[
        int, Setting("Random seed for the fresh layers to compare with.", metavar="N")
    ] = 0
    initial: str | None = None


KIND = ExplainKind(
    name="weights",
    verb="explain.weights",
    request=WeightsRequest,
    room="units",
    doing="reading weights",
    key="weights",
    table=LAYER_TABLE,
    identity="viz_id",
    order=LAYER_ORDER,
    shown=("n_units", "n_dead", "effective_rank"),
    about=about_layer,
    row_kinds=frozenset({ROW_KIND}),
)
