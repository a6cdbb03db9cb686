"""`telemetry hypotheses run`: run the data sets that hypotheses ask for through the model."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import RequestKind
from telemetry.requests.models import ModelRequest
from telemetry.requests.settings import Batch, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesesRequest(ModelRequest):
    """Run the data sets that hypotheses ask for through the model; `source` needs no data set.

    Attributes:
        definitions: Text of a file of hypotheses.
        place: Where the text comes from, for messages.
        run: Folder of the run that the rows go to.
    """

    definitions: str
    place: str
    run: str
    batch: Batch = 64
    limit: Annotated[
        int | None,
        Setting("Use only the first N examples of each data set.", metavar="N", least=1),
    ] = None


KIND = RequestKind(
    name="hypotheses", verb="hypotheses.run", request=HypothesesRequest, room="hypotheses"
)
