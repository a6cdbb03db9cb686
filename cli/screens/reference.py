"""The views that a query can read: their names, columns and meaning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.errors import UsageError
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.store.store import Store
    from telemetry.store.user_sql.reference import ViewColumn

Views = Mapping[str, Sequence["ViewColumn"]]


def show_views(screen: Screen, store: "Store", name: str | None) -> None:
    """Every view, or the columns of one.

    Raises:
        UsageError: there is no such view.
    """
    from telemetry.store.user_sql.reference import describe_views  # noqa: PLC0415 - duckdb

    views: dict[str, list[ViewColumn]] = {}
    for column in describe_views(store):
        views.setdefault(column.view, []).append(column)
    if name is not None:
        if name not in views:
            raise UsageError(f"view {name!r} is unknown; there are {', '.join(views)}.")
        views = {name: views[name]}
    if screen.wants_json:
        screen.json({"views": [_to_json(view, columns) for view, columns in views.items()]})
    elif name is None and screen.for_people:
        _list_views(screen, views)
    else:
        _list_columns(screen, views)


def _to_json(view: str, columns: Sequence["ViewColumn"]) -> dict[str, Json]:
    from telemetry.store.user_sql.reference import view_doc  # noqa: PLC0415 - duckdb

    return {
        "name": view,
        "doc": view_doc(view),
        "columns": [{"name": c.column, "type": c.type, "doc": c.doc} for c in columns],
    }


def _list_views(screen: Screen, views: Views) -> None:
    from telemetry.store.user_sql.reference import view_doc  # noqa: PLC0415 - duckdb

    head = (
        Column(header="VIEW"),
        Column(header="COLUMNS", align=Align.RIGHT),
        Column(header="ONE ROW IS", shrinks=True, folds=True),
    )
    rows = tuple((view, str(len(columns)), view_doc(view)) for view, columns in views.items())
    screen.grid(Grid(columns=head, rows=rows), indent=0)
    screen.note(Span("telemetry query --schema VIEW lists its columns", Style.FAINT))


def _list_columns(screen: Screen, views: Views) -> None:
    several = len(views) > 1 or not screen.for_people
    head = (
        *([Column(header="VIEW")] if several else []),
        Column(header="COLUMN"),
        Column(header="TYPE"),
        Column(header="MEANING", shrinks=True, folds=True),
    )
    rows = tuple(
        (*([view] if several else []), column.column, column.type, column.doc)
        for view, columns in views.items()
        for column in columns
    )
    screen.grid(Grid(columns=head, rows=rows), indent=0)
