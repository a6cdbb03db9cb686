"""`telemetry explain reduce`: the least difference between a wrong answer and a right one."""

from dataclasses import dataclass
from typing import Annotated

from telemetry.requests.kinds import ExplainKind
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Batch, Setting, Tolerance, names

REPAIR, BREAK = MODES = ("repair", "break")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceSettings:
    """How the least difference is searched; cells have a side of 2, or what gives 256 of them."""

    mode: Annotated[
        str | None, Setting("Search only one kind of set (default: both).", choices=MODES)
    ] = None
    cell: Annotated[
        int | None, Setting("Side of a cell in pixels (default 2).", metavar="PX", least=1)
    ] = None
    immutable: Annotated[
        tuple[str, ...],
        Setting("Columns that must not change.", metavar="COL,COL", read=names),
    ] = ()
    most_calls: Annotated[
        int, Setting("Maximum number of mixtures to try in a search.", flag="--max-calls", least=1)
    ] = 2000
    batch: Batch = 64
    tolerance: Tolerance = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceRequest(ExplainRequest):
    """Find the least difference between a wrong answer and a right one."""

    wrong: Annotated[
        str,
        Setting(
            "Id, position or file (.png, .npy, .json, .txt) of a wrongly answered input.",
            metavar="ID|FILE",
        ),
    ]
    label: Annotated[
        str | None, Setting("True class of the input from a file.", metavar="CLASS")
    ] = None
    right: Annotated[
        str | None,
        Setting(
            "Id, position or file (.png, .npy, .json, ...) of an input that is answered with "
            "the true class; nearest: the most similar one; blur, mean, inpaint: the wrong "
            "input without details (default nearest; blur for images).",
            metavar="ID|FILE",
        ),
    ] = None
    settings: ReduceSettings = ReduceSettings()


KIND = ExplainKind(
    name="reduce",
    verb="explain.reduce",
    request=ReduceRequest,
    room="reduction",
    doing="reducing",
    key="reductions",
    table="input_reductions",
    identity="reduction_id",
    order=("mode DESC",),
    unread=frozenset({"right_id", "seconds"}),
    shown=("mode", "minimal", "minimal_proven", "region_share", "p_before", "p_after"),
    about=lambda rows: f"example {rows[0]['wrong_id']}",
)
