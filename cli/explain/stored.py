"""`telemetry explain list` and `show`: what a run has been asked, and one stored answer again."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.models.pages import HTML, check_page, write_page
from telemetry.cli.options import Settings, VerbGroup, complete_runs
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, span
from telemetry.cli.output.model_answers import checks_grid, show_failures
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens.store_warnings import warn_of_files
from telemetry.errors import Inconclusive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.evaluate.stored.explanations import StoredExplanation
    from telemetry.json_values import Json

SHOWN_ANSWERS = 20  # to people
SHOWN_ROWS = 30
SHORT = 8  # characters of an id, to people
SHOWN_PARTS = 10
SHOWN_ITEMS = 5  # of a list in a cell
MOMENT = "%Y-%m-%d %H:%M"


def add_stored(group: VerbGroup) -> None:
    """Add both parts to `telemetry explain`."""
    group.part("list")(explain_list)
    group.part("show")(explain_show)


@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.pass_obj
def explain_list(settings: Settings, *, run: str) -> None:
    """List the stored answers about a run, newest first.

    Nothing is computed: the answers are read from the run.

    Examples:
      telemetry explain list latest
      telemetry explain list 7f3a --json
    """
    from telemetry.evaluate.stored.explanations import stored_explanations  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    chosen = store.select(run)
    found = stored_explanations(store, [chosen])
    warn_of_files(screen, [chosen])
    if screen.wants_json:
        screen.json({"run": chosen.run, "stored": True, "asked": [a.to_json() for a in found]})
        return
    if not found:
        screen.paragraph(
            f"{chosen.name} ({chosen.short}) has no stored answers; `telemetry explain --help` "
            "shows what you can ask."
        )
        return
    shown = found[:SHOWN_ANSWERS] if screen.for_people else found
    screen.grid(_list(shown), indent=0)
    if len(found) > len(shown):
        screen.note(
            Span(
                f"and {len(found) - len(shown)} older ones; pipe the output to see all",
                Style.FAINT,
            )
        )
    screen.note(Span("`telemetry explain show ID` shows one again", Style.FAINT))


@click.argument("identity", metavar="ID")
@HTML
@click.pass_obj
def explain_show(settings: Settings, *, identity: str, html: Path | None) -> int:
    """Show a stored answer again: its numbers, its checks and where its files are.

    ID is an id of `telemetry explain list`, or its beginning; it is also the name of the picture.
    Nothing is computed; to ask again with the current model, repeat the original command, of
    `explain input` with --again. An answer with a failed check gives exit code 3, as it did before.

    Examples:
      telemetry explain show 3fa1
      telemetry explain show 3fa1c0de00112233 --json
    """
    from telemetry.evaluate.stored.explanations import find_explanation  # noqa: PLC0415 - duckdb

    check_page(html)
    screen = open_screen(settings)
    found = find_explanation(telemetry.Store.open(settings.store), identity)
    warn_of_files(screen, [found.run])
    if html is not None:
        _write_page(html, found, screen)
    if screen.wants_json:
        whole = found.to_json(whole=True)
        screen.json({"run": found.run.run, "stored": True, "asked": [whole]})
    else:
        show(screen, found)
        if html is not None:
            screen.verbatim(str(html), label="page")
    return Inconclusive.exit_code if found.ok is False else 0


def show(screen: Screen, asked: "StoredExplanation") -> None:
    """The answer, what failed, when and of whom it was asked, its numbers, checks and files."""
    screen.paragraph(asked.answer or f"{asked.verb} of {asked.about}")
    show_failures(screen, {"checks": asked.checks})
    screen.blank()
    for name, value in _facts(asked):
        screen.paragraph(value, label=name)
    screen.blank()
    screen.grid(_numbers(asked, screen))
    if asked.checks:
        screen.blank()
        screen.grid(checks_grid({"checks": asked.checks}))
    if asked.picture is not None:
        screen.paragraph(str(asked.picture), label="picture")
    elif asked.image is not None:
        screen.paragraph(
            "the picture was removed to free space, or by hand; ask again to draw it",
            label="picture",
        )
    if asked.page is not None:
        screen.paragraph(str(asked.run.ref.path / asked.page), label="page")


def _write_page(path: Path, asked: "StoredExplanation", screen: Screen) -> None:
    """The same as a page.

    Raises:
        UsageError: the file cannot be written.
    """
    grid, picture = _numbers(asked, screen), asked.picture
    document: dict[str, Json] = {
        "answer": asked.answer or f"{asked.verb} of {asked.about}",
        "checks": asked.checks,
        "facts": dict(_facts(asked)),
        "table": {
            "headers": [column.header for column in grid.columns],
            "rows": [[span(cell).text for cell in row] for row in grid.rows],
        },
        "image": asked.image,
    }
    png = None if picture is None else picture.read_bytes()
    title = f"telemetry explain show {asked.id}"
    write_page(path, title, "stored", [document], lambda _: png)


def _numbers(asked: "StoredExplanation", screen: Screen) -> Grid:
    return _rows(asked, screen) if asked.kind.shown else _parts(asked)


def _list(found: "Sequence[StoredExplanation]") -> Grid:
    columns = (
        Column(header="ID"),
        Column(header="ASKED", rank=2),
        Column(header="PART"),
        Column(header="ABOUT", rank=1),
        Column(header="CHECKS"),
        Column(header="ANSWER", shrinks=True, least=40),
    )
    return Grid(columns=columns, rows=tuple(map(_list_row, found)))


def _list_row(asked: "StoredExplanation") -> tuple[Cell, ...]:
    return (
        Span(asked.id[:SHORT], piped=asked.id),
        asked.written_at.strftime(MOMENT),
        asked.verb,
        asked.about,
        _verdict(asked.ok),
        asked.answer or asked.about,
    )


def _verdict(ok: bool | None) -> Cell:  # noqa: FBT001 - a value of the table
    if ok is None:
        return numbers.NOTHING
    return Span("passed", Style.GOOD) if ok else Span("FAILED", Style.ERROR)


def _facts(asked: "StoredExplanation") -> list[tuple[str, str]]:
    first = asked.rows[0]
    named = {
        "id": asked.id,
        "run": f"{asked.run.name} ({asked.run.short})",
        "asked": f"{asked.written_at.strftime(MOMENT)} UTC",
        "part": asked.verb,
        "about": asked.about,
        "data set": first.get("dataset"),
        "weights": asked.checkpoint,
        "method": first.get("method"),
        "library": first.get("library"),
        "settings": _settings(asked),
        "against": first.get("baseline") or first.get("right_name"),
        "threshold": first.get("threshold"),
        "seed": first.get("seed"),
        "forwards": first.get("forwards"),
    }
    return [(name, _cell(value)) for name, value in named.items() if value is not None]


def _settings(asked: "StoredExplanation") -> str | None:
    """The settings that were used, but those that are a column; None in rows of older versions."""
    columns = asked.rows[0]
    found = [
        f"{name.replace('_', ' ')} {_setting(value)}"
        for name, value in asked.params.items()
        if value is not None and name not in columns
    ]
    return ", ".join(found) or None


def _setting(value: object) -> str:
    if isinstance(value, dict):  # such as baselines and how many references each has
        return " + ".join(f"{name} ({count})" for name, count in value.items())
    return f"{value:g}" if isinstance(value, float) else _cell(value)


def _parts(asked: "StoredExplanation") -> Grid:
    """The parts of an input that speak most for the score."""
    from telemetry.evaluate.stored.explanations import strongest  # noqa: PLC0415 - duckdb

    columns = (
        Column(header="PART", shrinks=True),
        Column(header="VALUE", align=Align.RIGHT),
        Column(header="SHARE", align=Align.RIGHT),
    )
    rows = tuple(
        (name, numbers.number(value), f"{100 * share:.0f} %")
        for name, value, share in strongest(asked)[:SHOWN_PARTS]
    )
    return Grid(columns=columns, rows=rows)


def _rows(asked: "StoredExplanation", screen: Screen) -> Grid:
    """The rows of the table, in those columns that hold something."""
    rows = asked.to_json(whole=True)["rows"]
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    shown = found[:SHOWN_ROWS] if screen.for_people else found
    names = [name for name in asked.kind.shown if any(r[name] is not None for r in shown)]
    columns = tuple(
        Column(
            header=name.replace("_", " ").upper(),
            align=Align.RIGHT if _is_number(shown, name) else Align.LEFT,
            shrinks=not _is_number(shown, name),
            rank=place,
        )
        for place, name in enumerate(names)
    )
    return Grid(columns=columns, rows=tuple(tuple(_cell(r[n]) for n in names) for r in shown))


def _is_number(rows: "Sequence[Mapping[str, Json]]", name: str) -> bool:
    return all(isinstance(row[name], int | float | None) for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, float):
        return numbers.number(value)
    if isinstance(value, list) and any(isinstance(entry, list) for entry in value):
        return plural(len(value), "cell")
    if isinstance(value, list):
        more = ", ..." if len(value) > SHOWN_ITEMS else ""
        return ", ".join(map(str, value[:SHOWN_ITEMS])) + more
    return str(value)
