"""`telemetry evaluate`: run every example through the model."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import RequestKind
from telemetry.requests.models import ModelRequest
from telemetry.requests.settings import Batch, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest(ModelRequest):
    """Run every example through the model.

    Attributes:
        checkpoints: Files of weights, each an evaluation; none: that of `source`.
        run: Folder of the run that the rows go to; None: they are not kept.
    """

    checkpoints: tuple[str, ...] = ()
    run: str | None = None
    batch: Batch = 64
    limit: Annotated[
        int | None, Setting("Evaluate only the first N examples.", metavar="N", least=1)
    ] = None


KIND = RequestKind(name="evaluate", verb="evaluate", request=EvaluateRequest, room="evaluation")
