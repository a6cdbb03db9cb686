"""The page of all runs: filters, a table, and boxes that choose what to compare."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from telemetry.answer_page.html import element, escaped, paragraph
from telemetry.cli.cached_diagnosis import counts_in_force, options_in_force
from telemetry.cli.home import FIRST_STEPS
from telemetry.cli.options import Settings
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import run_list
from telemetry.cli.screens.run_list import RunList, loss_trends, show_runs
from telemetry.cli.sorting import COLUMNS
from telemetry.cli.ui import shell
from telemetry.cli.ui.filters import BY_FINDINGS, FOUND_TEXTS, Wanted, chosen
from telemetry.cli.ui.kept import Source
from telemetry.cli.ui.run_table import RunTable
from telemetry.compare.curves.metric_names import by_importance
from telemetry.format.manifest import Status
from telemetry.store.store import Store

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run

SHOWN_RUNS = 50
Options = Iterable[tuple[str, str]]  # value and text of each choice


def list_source(settings: Settings, store: Callable[[], Store], asked: Mapping[str, str]) -> Source:
    """The list of the runs of a store that an address asks for.

    Args:
        settings: The common options.
        store: Opens the store, which may come and go.
        asked: Query of the address.
    """
    wanted = Wanted.of(asked)
    return Source(
        identity=wanted,
        look=lambda: _version(store().runs()),
        draw=lambda version: _page(settings, store(), wanted, version),
    )


def _version(runs: Sequence["Run"]) -> str:
    """Of everything that a list shows but ages."""
    shown = [
        (*run.key, run.status, run.steps, run.name, run.finding_counts, run.findings_options)
        for run in runs
    ]
    text = repr((shown, options_in_force()))
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _page(settings: Settings, store: Store, wanted: Wanted, version: str) -> str:
    runs = list(store.runs())
    if not runs:
        return shell.shell("runs", [shell.live(version, _moment(), [_first_steps(store)])])
    if wanted.sort_key is not None and wanted.sort_key not in COLUMNS:
        runs = store.with_metrics(runs)
    counts = counts_in_force()
    found = chosen(runs, wanted, counts)
    shown = store.with_metrics(found if wanted.all else found[:SHOWN_RUNS])
    screen = RunTable(settings, shown)
    for run in shown:
        if run.manifest is None:
            screen.warn(run.reason)
    sort = wanted.sort_key
    listed = RunList(
        runs=shown,
        trends=loss_trends(screen, store, shown),
        counts=counts,
        sort=sort,
        added=None if sort in {None, *COLUMNS} else sort,
    )
    show_runs(screen, listed, n_more=0)
    body = [_count(len(shown), len(found), len(runs), wanted), _chooser(screen.html)]
    return shell.shell(
        "runs",
        [
            paragraph(str(store.path), "foot"),
            _filters(runs, wanted),
            shell.live(version, _moment(), body),
        ],
    )


def _moment() -> str:
    return run_list.now().astimezone().strftime("%H:%M:%S")


def _first_steps(store: Store) -> str:
    steps = (
        element("li", f"{element('code', escaped(command))} {escaped(what)}")
        for command, what in FIRST_STEPS
    )
    return paragraph(f"{store.path}: no run yet.") + element("ul", "".join(steps))


def _count(n_shown: int, n_found: int, n_runs: int, wanted: Wanted) -> str:
    """How many there are, and links to the others."""
    text = plural(n_runs, "run") if n_found == n_runs else f"{n_found} of {plural(n_runs, 'run')}"
    if n_shown < n_found:
        everything = [(key, value) for key, value in _query(replace(wanted, all="1")) if value]
        more = shell.link(f"{shell.LIST}?{urlencode(everything)}", "all of them")
        return element("p", f"{escaped(text)}, the first {n_shown} are shown; {more}")
    return paragraph(text)


def _query(wanted: Wanted) -> list[tuple[str, str]]:
    names = ("project", "status", "tag", "found", "text", "sort", "all")
    return [(name, getattr(wanted, name)) for name in names]


def _chooser(table: str) -> str:
    """The table in a form that leads to the runs that were chosen."""
    button = (
        '<p class="compare"><button>compare the chosen runs</button> '
        '<span class="foot">two: the older one is the base; three and more: a sweep</span></p>'
    )
    hidden = '<input type="hidden" name="by" value="start">'
    runs = element("div", table, "runs")
    return f'<form action="{shell.RUNS}" method="get">{hidden}{runs}{button}</form>'


def _filters(runs: Sequence["Run"], wanted: Wanted) -> str:
    projects = sorted({run.project for run in runs})
    tags = sorted({tag for run in runs for tag in run.tags})
    metrics = by_importance(name for run in runs for name in run.metrics)
    settings = sorted({key for run in runs for key in run.config})
    orders = [
        *((name, name) for name in COLUMNS if name != "started"),
        (BY_FINDINGS, "gravest findings"),
        *((name, name) for name in dict.fromkeys([*metrics, *settings]) if name not in COLUMNS),
    ]
    fields = [
        _field("text", f'<input type="search" name="text" value="{escaped(wanted.text)}">'),
        _choice("project", "project", _same(projects), wanted.project),
        _choice("status", "status", _same(map(str, Status)), wanted.status),
        _choice("tag", "tag", _same(tags), wanted.tag) if tags else "",
        _choice("found", "findings", FOUND_TEXTS.items(), wanted.found),
        _choice("sort", "sorted by", orders, wanted.sort, nothing="newest first"),
    ]
    reset = shell.link(shell.LIST, "reset") if wanted != Wanted() else ""
    content = "".join((*fields, "<button>show</button>", reset))
    return f'<form class="filters" action="{shell.LIST}" method="get">{content}</form>'


def _same(texts: Iterable[str]) -> Options:
    return ((text, text) for text in texts)


def _choice(name: str, label: str, options: Options, current: str, *, nothing: str = "any") -> str:
    """A field with the choices that there are; one that is asked for is always among them."""
    known = dict([("", nothing), *options])
    known.setdefault(current, current)
    choices = "".join(
        f'<option value="{escaped(value)}"{" selected" if value == current else ""}>'
        f"{escaped(text)}</option>"
        for value, text in known.items()
    )
    return _field(label, f'<select name="{name}">{choices}</select>')


def _field(label: str, content: str) -> str:
    return element("label", f"{escaped(label)}{content}")
