"""The page of one run, or of several beside each other: that of `telemetry report`."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import telemetry
from telemetry.answer_page.html import element, escaped
from telemetry.cli.cached_diagnosis import known_diagnosis, options_in_force, policy
from telemetry.cli.options import Settings
from telemetry.cli.report.page import report_body, report_title
from telemetry.cli.screens import run_list
from telemetry.cli.ui import shell
from telemetry.cli.ui.kept import Source
from telemetry.cli.ui.run_table import selector_of
from telemetry.compare.watch.watcher import DIAGNOSIS_SHARE, Clock, Pace
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.store.files.folders import is_real_folder
from telemetry.store.runs.catalog import run_status
from telemetry.store.runs.findings_cache import input_hash
from telemetry.store.runs.run import Run
from telemetry.store.runs.select import select_group
from telemetry.store.store import Store

if TYPE_CHECKING:
    from telemetry.diagnose.finding import Diagnosis

MOST_JUDGED = 32  # running runs whose last diagnosis is kept
MOST_OFFERED = 20  # runs to compare one with
TRIES = "tries"  # the table of experiments, which may come after a run


class Judge:
    """Diagnoses runs; those that are being recorded so often as a hundredth of a core allows."""

    def __init__(self, clock: Clock, spent: Clock) -> None:
        self._pace = partial(Pace, share=DIAGNOSIS_SHARE, clock=clock, spent=spent)
        self._spent = spent
        self._kept: OrderedDict[tuple[str, str], tuple[Pace, Diagnosis]] = OrderedDict()

    def judge(self, store: Store, run: Run) -> "Diagnosis":
        """What the rules say of a run; of a running one perhaps what they said a while ago."""
        if run.status is not Status.RUNNING:
            self._kept.pop(run.key, None)
            return known_diagnosis(store, run)
        kept = self._kept.get(run.key)
        if kept is not None and not kept[0].is_due():
            return kept[1]
        pace, began_s = kept[0] if kept else self._pace(), self._spent()
        diagnosis = known_diagnosis(store, run)
        pace.did(began_s)
        self._kept[run.key] = pace, diagnosis
        while len(self._kept) > MOST_JUDGED:
            self._kept.popitem(last=False)
        return diagnosis


def report_source(
    settings: Settings,
    store: Callable[[], Store],
    judge: Judge,
    selectors: Sequence[str],
    *,
    by_start: bool,
) -> Source:
    """What the page of runs is drawn from.

    Args:
        settings: The common options.
        store: Opens the store, which may come and go.
        judge: Diagnoses the runs.
        selectors: What means them, which is compared with names and ids of runs and never becomes
            a path.
        by_start: Whether the older run is the base; else the one that was named first.

    Raises:
        RunNotFound: a selector fits no run.
        UsageError: there is no selector.
    """
    if not selectors:
        raise UsageError("choose a run, or two and more to compare them.")
    known = store().runs()
    sides = [list(select_group(known, one)) for one in selectors]
    if by_start:
        sides.sort(key=lambda side: side[0].started)
    keys = tuple(tuple(run.ref for run in side) for side in sides)
    runs = list({run.key: run for side in sides for run in side}.values())
    return Source(
        identity=keys,
        look=lambda: _version(runs),
        draw=lambda version: _page(settings, store(), judge, sides, version),
    )


def _version(runs: Sequence[Run]) -> str:
    """Of everything that is recorded of runs, or was found out later; from names of files alone."""
    seen = [_state(run) for run in runs]
    text = repr((seen, options_in_force()))
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _state(run: Run) -> tuple[str, ...]:
    path = run.ref.path
    if not is_real_folder(path):
        raise StoreUnreadable(f"run {run.run} is no longer there.")
    tries = sorted(found.name for found in path.glob(f"{TRIES}/**/*.parquet"))
    return (*run.key, run_status(path), input_hash(run.ref), *tries)


def _page(
    settings: Settings, store: Store, judge: Judge, sides: Sequence[Sequence[Run]], version: str
) -> str:
    newest = {run.key: run for run in store.runs()}
    current = [[newest.get(run.key, run) for run in side] for side in sides]
    report = telemetry.report_runs(
        store, current, policy=policy(), diagnose=partial(judge.judge, store)
    )
    moment = run_list.now().astimezone().strftime("%H:%M:%S")
    above = [_ways(current), _beside(current, list(newest.values()))]
    body = shell.live(version, moment, report_body(report, settings))
    return shell.shell(report_title(report), [*above, body])


def _ways(sides: Sequence[Sequence[Run]]) -> str:
    """Where to go from here."""
    links = [shell.link(shell.LIST, "all runs")]
    named = [selector_of(side[0]) for side in sides if len(side) == 1]
    if len(named) == len(sides) == 2:  # noqa: PLR2004 - base and candidate
        links.append(shell.link(shell.runs_address(named[::-1]), "swap base and candidate"))
        links += [
            shell.link(shell.runs_address([selector_of(run)]), f"{run.name} {run.short} alone")
            for run, *_ in sides
        ]
    return element("nav", "".join(links))


def _beside(sides: Sequence[Sequence[Run]], known: Sequence[Run]) -> str:
    """A form that puts another run of the project beside a single one."""
    (run, *more) = (one for side in sides for one in side)
    others = [one for one in known if one.project == run.project and one.key != run.key]
    if more or not others:
        return ""
    options = "".join(
        f'<option value="{escaped(selector_of(one))}">{escaped(f"{one.name} {one.short}")}</option>'
        for one in others[:MOST_OFFERED]
    )
    base = f'<input type="hidden" name="run" value="{escaped(selector_of(run))}">'
    content = (
        f'<label>compare with <select name="run">{options}</select></label>{base}'
        '<input type="hidden" name="by" value="start"><button>compare</button>'
    )
    return f'<form class="compare" action="{shell.RUNS}" method="get">{content}</form>'
