"""Results as a notebook shows them: the screens of the verbs, in Markdown or HTML."""

from collections.abc import Sequence
from functools import singledispatch

from telemetry.cli.cached_diagnosis import counts_in_force
from telemetry.cli.options import Settings
from telemetry.cli.output.html import HtmlScreen
from telemetry.cli.output.markdown import MarkdownScreen
from telemetry.cli.output.render import Screen
from telemetry.cli.screens import diagnosis as diagnosis_screen
from telemetry.cli.screens import diff as diff_screen
from telemetry.cli.screens import sweep as sweep_screen
from telemetry.cli.screens.run_list import RunList, loss_trends, show_runs
from telemetry.compare.diff.result import Diff
from telemetry.compare.sweep.result import Sweep
from telemetry.diagnose.finding import Diagnosis
from telemetry.store.runs.run import Run
from telemetry.store.runs.runs import Runs
from telemetry.store.store import Store

SHOWN_RUNS = 20


def html(value: object) -> str:
    """A result as a piece of HTML."""
    screen = HtmlScreen(Settings())
    _show(value, screen)
    return screen.content


def markdown(value: object) -> str:
    """A result as Markdown."""
    lines: list[str] = []
    _show(value, MarkdownScreen(Settings(), lines.append))
    return "\n".join(lines)


@singledispatch
def _show(value: object, screen: Screen) -> None:
    del screen
    raise TypeError(f"{type(value).__name__} has no screen.")


@_show.register
def _(value: Diagnosis, screen: Screen) -> None:
    diagnosis_screen.show(screen, value.run, value, whole=False)


@_show.register
def _(value: Diff, screen: Screen) -> None:
    diff_screen.show(screen, value)


@_show.register
def _(value: Sweep, screen: Screen) -> None:
    sweep_screen.show(screen, value)


@_show.register
def _(value: Run, screen: Screen) -> None:
    _list_runs(screen, [value])


@_show.register
def _(value: Runs, screen: Screen) -> None:
    _list_runs(screen, value[:SHOWN_RUNS])
    n_more = len(value) - SHOWN_RUNS
    if n_more > 0:
        screen.note(f"{n_more} more")


def _list_runs(screen: Screen, runs: Sequence[Run]) -> None:
    if runs:
        store = Store.of(runs[0])
        runs = store.with_metrics(runs)
        trends = loss_trends(screen, store, runs)
    else:
        trends = {}
    listed = RunList(runs=runs, trends=trends, counts=counts_in_force())
    show_runs(screen, listed, n_more=0)
