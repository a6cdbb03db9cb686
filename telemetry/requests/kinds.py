"""Kinds of questions that a process with torch answers: one record each, found by its name.

A kind is a module of `telemetry.requests`, named by its verb, that holds `KIND`. Whoever has a part
in answering finds that part by the kind's name, so that no list of kinds exists: the computation is
`telemetry/explain/<room>/<name>_answers.py`; of `telemetry explain` the verb and its screen are
`cli/explain/<name>.py`, and what its page draws is `telemetry/answer_page/kinds/<name>.py`.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Generic, TypeVar

from telemetry.errors import UsageError
from telemetry.json_values import Json
from telemetry.requests import explain
from telemetry.requests.models import ExplainRequest
from telemetry.requests.values import Request

R_co = TypeVar("R_co", bound=Request, covariant=True)
E_co = TypeVar("E_co", bound=ExplainRequest, covariant=True)
Row = Mapping[str, object]  # of a table, by the names of its columns

VERB = "verb"  # of a request as it travels: which kind it is
PACKAGE = "telemetry.requests"
EXPLAIN = "explain"
RUN = ".run"  # ends the verbs that have other parts, which need no model


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKind(Generic[R_co]):
    """One kind of question.

    Attributes:
        name: As in `telemetry explain <name>`, or the verb itself; that of its module.
        verb: What a request says that it is.
        request: What is asked; its settings are declared there.
        room: Folder of `telemetry.explain` that answers.
    """

    name: str
    verb: str
    request: type[R_co]
    room: str

    @property
    def words(self) -> str:
        """The name as it is typed."""
        return self.name.replace("_", "-")

    def document(self, request: Request) -> dict[str, Json]:
        """A request as it travels."""
        return {VERB: self.verb, **request.to_json()}

    def read(self, document: Mapping[str, Json]) -> R_co:
        """The request of a document.

        Raises:
            UsageError: it has other fields.
        """
        return self.request.of({name: value for name, value in document.items() if name != VERB})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainKind(RequestKind[E_co]):
    """A kind of question of `telemetry explain`.

    Attributes:
        doing: What is being done meanwhile, for the progress bar.
        key: What the answers are called in JSON.
        table: That keeps them.
        identity: Its column that tells answers apart, and what they call it in JSON.
        order: Columns by which the rows of an answer are put in order, each perhaps with DESC.
        unread: Columns that `telemetry explain show` leaves out.
        shown: Columns that it shows to people; empty: the parts of the input that rows hold.
        about: What was asked about, in words, of the rows of an answer.
        row_kinds: What the column `kind` holds, where several kinds share a table.
        answer_id: The id of the answer that a row belongs to, where that is not `identity`.
    """

    doing: str
    key: str
    table: str
    identity: str
    order: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()
    shown: tuple[str, ...] = ()
    about: Callable[[Sequence[Row]], str]
    row_kinds: frozenset[str] = frozenset()
    answer_id: Callable[[Row], str] | None = None


@cache
def explain_kinds() -> tuple[ExplainKind[ExplainRequest], ...]:
    """Every kind of `telemetry explain`, by name."""
    found = sorted(module.name for module in pkgutil.iter_modules(explain.__path__))
    return tuple(explain_kind(name) for name in found)


def explain_kind(name: str) -> ExplainKind[ExplainRequest]:
    """The kind of that name."""
    kind = import_module(f"{PACKAGE}.{EXPLAIN}.{name}").KIND
    assert isinstance(kind, ExplainKind)  # noqa: S101 - tells the type checker
    return kind


def requested_kind(document: Mapping[str, Json]) -> RequestKind[Request]:
    """The kind of a request that travelled.

    Raises:
        UsageError: there is none of that verb.
    """
    verb = str(document.get(VERB))
    place = verb.removesuffix(RUN)
    if place in _places():
        kind = getattr(import_module(f"{PACKAGE}.{place}"), "KIND", None)
        if isinstance(kind, RequestKind) and kind.verb == verb:
            return kind
    raise UsageError(f"there is no command {verb!r}.")


@cache
def _places() -> frozenset[str]:
    """Modules of requests, from here on."""
    own = import_module(PACKAGE).__path__
    within = (f"{EXPLAIN}.{module.name}" for module in pkgutil.iter_modules(explain.__path__))
    return frozenset({*(module.name for module in pkgutil.iter_modules(own)), *within})
