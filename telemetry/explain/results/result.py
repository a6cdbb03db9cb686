"""What all results of explain offer: the answer in words, pictures, a page, and being kept."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar, cast, overload

from telemetry import json_values
from telemetry.answer_page import page
from telemetry.errors import UsageError
from telemetry.explain.answering import answering
from telemetry.explain.models.origin import Origin
from telemetry.explain.results.check import Check, check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.format.runs import MANIFEST_NAME
from telemetry.json_values import Json
from telemetry.requests.kinds import ExplainKind, explain_kind
from telemetry.requests.models import ExplainRequest, Keep
from telemetry.store.runs.run import Run

R = TypeVar("R", bound="Result")
Files = Mapping[str, str | None]  # what an answer calls its pictures and arrays, and their paths
KINDS = ("png", "grid", "html")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFormat(Generic[R]):
    """How the results of one kind are told, drawn and kept.

    Attributes:
        kind: What they are called, and which table keeps them.
        picture: A PNG; None where there is nothing to draw.
        files: Keeps pictures and arrays, and says where; paths by the names that JSON gives them.
        document: What JSON has.
        rows: Of the table.
    """

    kind: ExplainKind[ExplainRequest]
    picture: Callable[[R], bytes | None]
    files: Callable[[R, Keeper], Files]
    document: Callable[[R, Files], dict[str, Json]]
    rows: Callable[[R, Files], Sequence[Mapping[str, object]]]

    def kept(self, found: R, keeper: Keeper) -> dict[str, Json]:
        """Keep a result, and say what JSON has of it.

        Raises:
            StoreUnreadable: the disk refuses.
        """
        files = self.files(found, keeper)
        keeper.rows(self.kind.table, self.rows(found, files), identity=self.kind.identity)
        return self.document(found, files)

    def answers(self, found: Iterable[R], keep: Keep) -> dict[str, Json]:
        """Keep results, each as it comes, and say what JSON has of them.

        Raises:
            StoreUnreadable: the disk refuses.
        """
        keeper = Keeper.of(keep)
        return {self.kind.key: [self.kept(one, keeper) for one in found]}


def judged_columns(found: "Result", answer: str) -> dict[str, object]:
    """What the rows of every result that is checked have in common.

    Args:
        found: The result.
        answer: In words.
    """
    return {
        "checkpoint": found.origin.checkpoint,
        "checks": json_values.dumps([check_json(check) for check in found.checks]),
        "ok": found.ok,
        "answer": answer,
    }


def no_picture(found: "Result") -> None:
    """Of results that are tables and curves."""
    del found


def no_files(found: "Result", keeper: Keeper) -> Files:
    """Of the same."""
    del found, keeper
    return {}


class Result:
    """A result; what tells it is loaded when used.

    Attributes:
        KIND: Name of the question that it answers.
        origin: Whose answer it is.
        checks: What it was held against.
    """

    __slots__ = ()
    KIND: ClassVar[str]
    origin: Origin
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def answer(self) -> str:
        """The answer in a sentence."""
        return str(self._format.document(self, {})["answer"])

    @overload
    def figure(self, kind: Literal["png"]) -> bytes | None: ...
    @overload
    def figure(self, kind: Literal["grid"]) -> list[list[str]] | None: ...
    @overload
    def figure(self, kind: Literal["html"]) -> str: ...
    def figure(self, kind: str) -> bytes | list[list[str]] | str | None:
        """The result as a picture or a page; None where there is nothing to draw.

        Args:
            kind: `png`, bytes; `grid`, rows of `#rrggbb`, at most 64 a side; `html`, a page without
                script that asks no server for anything.

        Raises:
            UsageError: another kind.
        """
        if kind == "png":
            return self._format.picture(self)
        if kind == "grid":
            return cast("list[list[str]] | None", self._format.document(self, {}).get("grid"))
        if kind == "html":
            return self._page()
        raise UsageError(f"figure({kind!r}): choose {', '.join(KINDS)}.")

    def save(self, run: str | Path | Run) -> None:
        """Keep rows, pictures and arrays in a run; what it has already stays.

        Args:
            run: A run of a store, or its folder.

        Raises:
            UsageError: there is no run.
            StoreUnreadable: the disk refuses.
        """
        folder = run.ref.path if isinstance(run, Run) else Path(run)
        if not (folder / MANIFEST_NAME).is_file():
            raise UsageError(f"{folder}: not a run; the folder of a run contains {MANIFEST_NAME}.")
        self._format.kept(self, Keeper(run=folder, files=folder, takes_large=False))

    @property
    def _format(self) -> "ResultFormat[Result]":
        return cast("ResultFormat[Result]", answering(explain_kind(self.KIND)).FORMAT)

    def _page(self) -> str:
        with tempfile.TemporaryDirectory() as passing:
            folder = Path(passing)
            keeper = Keeper(run=None, files=folder, takes_large=True)
            document = self._format.kept(self, keeper)
            title = f"telemetry explain: weights {self.origin.checkpoint}"
            return page(
                title, self._format.kind.name, [document], lambda n: (folder / n).read_bytes()
            )
