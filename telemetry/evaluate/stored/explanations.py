"""What runs have been asked by `telemetry explain`, and what came out, from their tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from telemetry.errors import UsageError
from telemetry.evaluate.stored.explanation_tables import (
    AnyKind,
    Record,
    answer_id,
    answers_sql,
    json_columns,
    kind_of_row,
    kinds_by_table,
)
from telemetry.format.tables import table
from telemetry.json_values import Json
from telemetry.store.export import plain_value
from telemetry.store.files.kept_files import PAGES
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue, as_text
from telemetry.store.store import Store

MIN_PREFIX = 4  # characters of an id
MOST_NAMES = 8  # of an error
CLOSEST = 3  # of those that do not fit


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExplanation:
    """One question and its answer.

    Attributes:
        id: Of the answer; several rows of a table may have it.
        run: That keeps it.
        kind: Which kind of question it was.
        about: The example, layer or data set.
        answer: In words; '' in rows of older versions.
        ok: Whether every check passed; None: it has none.
        rows: Of the table, in its order; at least one.
    """

    id: str
    run: Run
    kind: AnyKind
    about: str
    answer: str
    ok: bool | None
    rows: tuple[Record, ...]

    @property
    def verb(self) -> str:
        """Part of `telemetry explain` that answered."""
        return self.kind.words

    @property
    def checkpoint(self) -> str:
        """Digest of the weights."""
        return as_text(self.rows[-1]["checkpoint"])

    @property
    def written_at(self) -> datetime:
        """When it was asked, UTC."""
        return _moment(self.rows[-1])

    @property
    def image(self) -> str | None:
        """Picture, relative to the run folder; None: none was made."""
        return as_text(self.rows[0].get("image_path")) or None

    @property
    def picture(self) -> Path | None:
        """The file of the picture; None: none was made, or it is gone."""
        if self.image is None or not _is_inside(self.image):
            return None
        path = self.run.ref.path / self.image
        return path if path.is_file() else None

    @property
    def page(self) -> str | None:
        """HTML of the answer, relative to the run folder; None: there is no such file."""
        place = f"{PAGES}/{self.id}.html"
        return place if _is_inside(place) and (self.run.ref.path / place).is_file() else None

    @property
    def checks(self) -> list[Mapping[str, Json]]:
        """What the answer was held against: name, value, threshold, ok, meaning."""
        found = parsed(self.rows[0].get("checks"))
        entries = found if isinstance(found, list) else []
        return [entry for entry in entries if isinstance(entry, Mapping)]

    @property
    def params(self) -> Mapping[str, Json]:
        """Settings by name; empty in rows of older versions, and of tables that have none."""
        found = parsed(self.rows[0].get("params"))
        return found if isinstance(found, Mapping) else {}

    def to_json(self, *, whole: bool = False) -> dict[str, Json]:
        """An entry of `explain list --json`; whole: with checks and rows, as `explain show`."""
        found: dict[str, Json] = {
            "id": self.id,
            "run": self.run.run,
            "verb": self.verb,
            "about": self.about,
            "answer": self.answer,
            "ok": self.ok,
            "checkpoint": self.checkpoint,
            "written_at": self.written_at.isoformat(),
            "image": self.image,
            "image_gone": self.image is not None and self.picture is None,
            "page": self.page,
        }
        if whole:
            found["checks"] = list(self.checks)
            parts = json_columns(table(self.kind.table))
            found["rows"] = [
                {name: _json_cell(value, is_json=name in parts) for name, value in row.items()}
                for row in self.rows
            ]
        return found


def stored_explanations(store: Store, runs: Sequence[Run]) -> list[StoredExplanation]:
    """What has been asked about runs, the newest first.

    Args:
        store: Where they lie.
        runs: Which.
    """
    found: list[StoredExplanation] = []
    for name, kinds in kinds_by_table().items():
        having = [run for run in runs if (run.ref.path / name).is_dir()]
        if having:
            with store.session(having) as session:
                records = session.query(answers_sql(kinds[0])).records()
            found += _answers(kinds, records, having)
    return sorted(found, key=lambda asked: (asked.written_at, asked.id), reverse=True)


def find_explanation(store: Store, identity: str) -> StoredExplanation:
    """The one stored answer with an id, or whose id begins so; of several runs the newest.

    Args:
        store: Where runs lie.
        identity: The id, or at least four characters of its beginning.

    Raises:
        UsageError: there is none, or several.
    """
    found = stored_explanations(store, store.runs())
    fits = [asked for asked in found if asked.id == identity]
    if not fits and len(identity) >= MIN_PREFIX:
        fits = [asked for asked in found if asked.id.startswith(identity)]
    ids = list(dict.fromkeys(asked.id for asked in fits))
    if len(ids) > 1:
        shown = ", ".join(ids[:MOST_NAMES]) + (", ..." if len(ids) > MOST_NAMES else "")
        raise UsageError(f"{identity!r} matches several ids: {shown}.")
    if not fits:
        known = list(dict.fromkeys(asked.id for asked in found))
        if not known:
            raise UsageError(f"there is no answer {identity!r}: no run in the store has any.")
        raise UsageError(f"there is no answer {identity!r}; {_closest(identity, known)}")
    return fits[0]


def _answers(
    kinds: Sequence[AnyKind], records: Sequence[Record], runs: Sequence[Run]
) -> list[StoredExplanation]:
    """Records of a table by answer."""
    by_place = {(run.ref.project, run.run): run for run in runs}
    groups: dict[tuple[str, str, str], tuple[AnyKind, list[Record]]] = {}
    for record in records:
        kind = kind_of_row(kinds, record)
        if kind is not None:
            place = as_text(record["project"]), as_text(record["run"])
            key = (*place, answer_id(kind, record))
            groups.setdefault(key, (kind, []))[1].append(record)
    return [
        StoredExplanation(
            id=identity,
            run=by_place[project, run],
            kind=kind,
            about=kind.about(rows),
            answer=as_text(rows[0]["answer"]),
            ok=None if (ok := rows[0].get("ok")) is None else bool(ok),
            rows=tuple(rows),
        )
        for (project, run, identity), (kind, rows) in groups.items()
    ]


def _closest(identity: str, known: Sequence[str]) -> str:
    """The ids that share most of their beginning; whoever copied one mistypes its end."""

    def shared(other: str) -> int:
        pairs = zip(identity, other, strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(identity), len(other)))

    closest = sorted(known, key=shared, reverse=True)[:CLOSEST]
    return f"the closest are {', '.join(closest)}; `telemetry explain list RUN` lists all."


def _moment(row: Record) -> datetime:
    moment = row["written_at"]
    return moment if isinstance(moment, datetime) else datetime.min  # noqa: DTZ901 - never NULL


def _is_inside(place: str) -> bool:
    """Whether a stored path stays in its run folder; the row may come from anybody."""
    path = PurePosixPath(place)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in place


def parsed(value: SqlValue) -> Json:
    """A cell that holds JSON; None where it holds none."""
    try:
        found: Json = json.loads(as_text(value))
    except ValueError:
        return None
    return found


def _json_cell(value: SqlValue, *, is_json: bool) -> Json:
    if is_json and value is not None:
        return parsed(value)
    return plain_value(value)


def strongest(asked: StoredExplanation) -> list[tuple[str, float, float]]:
    """Parts of an input by what they say for the score: name, value, share of all that do."""
    names = parsed(asked.rows[0].get("segment_names"))
    values = parsed(asked.rows[0].get("segment_values"))
    if not isinstance(names, list) or not isinstance(values, list):
        return []
    known = [float(v) if isinstance(v, int | float) else 0.0 for v in values]
    total = sum(max(value, 0.0) for value in known) or 1.0
    found = [
        (str(name), value, max(value, 0.0) / total)
        for name, value in zip(names, known, strict=False)
    ]
    return sorted(found, key=lambda part: part[1], reverse=True)
