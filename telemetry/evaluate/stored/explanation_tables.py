"""How the answers of `telemetry explain` are read from the tables that keep them."""

from collections.abc import Mapping, Sequence

from telemetry.format.tables import Table, table
from telemetry.requests.kinds import ExplainKind, explain_kinds
from telemetry.requests.models import ExplainRequest
from telemetry.store.sessions.rows import SqlValue, as_text

Record = Mapping[str, SqlValue]
AnyKind = ExplainKind[ExplainRequest]

PLACE = ("project", "run")
WRITTEN = "written_at"
ROW_KIND = "kind"  # the column that tells apart what several kinds keep in one table
JSON = "JSON"  # unit of a column that holds it


def kinds_by_table() -> dict[str, list[AnyKind]]:
    """The kinds whose answers each table keeps."""
    found: dict[str, list[AnyKind]] = {}
    for kind in explain_kinds():
        found.setdefault(kind.table, []).append(kind)
    return found


def answers_sql(kind: AnyKind) -> str:
    """The rows of a kind's table, those of one answer together."""
    schema = table(kind.table)
    columns = [c.name for c in schema.columns if c.name not in kind.unread]
    order = [WRITTEN, *PLACE, kind.identity, *kind.order]
    lines = ["SELECT", ",\n".join(f"    {name}" for name in [*PLACE, *columns])]
    return "\n".join([*lines, f"FROM {schema.name}", f"ORDER BY {', '.join(order)}"])


def json_columns(schema: Table) -> frozenset[str]:
    """The columns of a table that hold JSON."""
    return frozenset(column.name for column in schema.columns if column.unit == JSON)


def kind_of_row(kinds: Sequence[AnyKind], row: Record) -> AnyKind | None:
    """Which of the kinds of a table wrote a row; None: a kind of another version."""
    if not kinds[0].row_kinds:
        return kinds[0]
    own = as_text(row[ROW_KIND])
    return next((kind for kind in kinds if own in kind.row_kinds), None)


def answer_id(kind: AnyKind, row: Record) -> str:
    """Id of the answer that a row belongs to."""
    return as_text(row[kind.identity]) if kind.answer_id is None else kind.answer_id(row)
