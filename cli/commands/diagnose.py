"""Show what is wrong with a run, in which layer, since which step, and what to do.

Examples:
  telemetry diagnose latest
  telemetry diagnose base --fail-on error
  telemetry diagnose 7f3a --detector vanishing_gradient --since 1000 --json
  telemetry diagnose latest --details 1
  telemetry diagnose latest --follow --fail-on error
  telemetry diagnose latest --md
"""

from functools import partial
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import judged, policy
from telemetry.cli.options import Settings, complete_runs, markdown_option, verb
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.screens import diagnosis as diagnosis_screen
from telemetry.cli.screens.store_warnings import warn_of_files
from telemetry.configuration import FAIL_ON, find_configuration
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run
    from telemetry.trials.stored import StoredTry

GROUP = "Diagnose"
LATEST = "latest"
USUAL_FAIL_ON = "warning"
EXIT_FOUND = 1
EXIT_NOTHING_CHECKED = 3


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default=LATEST)
@click.option(
    "--detector",
    "detectors",
    metavar="ID",
    multiple=True,
    help="Run only this detector, and also describe what a healthy run shows.",
)
@click.option(
    "--since",
    metavar="STEP",
    type=click.IntRange(0),
    help="Ignore problems that ended before STEP.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    help="Exit with 1 for findings of at least this severity; with --follow, exit at once "
    "(default: `fail_on` of telemetry.toml, or warning).",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Diagnose a running run again whenever it writes, and show what changes until it ends. "
    "If no run is running, `latest` waits for the next one.",
)
@click.option(
    "--details",
    metavar="N",
    help="Show the numbers behind finding N of the screen, or behind a detector's finding, what "
    "is normal, and how to check a fix.",
)
@click.option(
    "--explain", "former_details", metavar="N", hidden=True, help="Former name of --details."
)
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Show every consequence with its numbers, and every rule that could not run with its "
    "reason.",
)
@markdown_option
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    run: str,
    detectors: tuple[str, ...],
    since: int | None,
    fail_on: str | None,
    follow: bool,
    details: str | None,
    former_details: str | None,
    show_all: bool,
) -> int:
    """Judge, show, and fail if something is wrong."""
    screen = open_screen(settings)
    wanted = details if former_details is None else former_details
    if follow and wanted is not None:
        raise UsageError(
            "--follow and --details exclude each other; use --details after the run has ended."
        )
    store, chosen = _followed(screen, settings, run) if follow else _selected(settings, run)
    warn_of_files(screen, [chosen])
    level = fail_on or find_configuration().fail_on or USUAL_FAIL_ON

    def diagnose(run: "Run") -> Diagnosis:
        if detectors or since is not None:
            return telemetry.diagnose_run(
                store, run, detectors=detectors or None, since=since, policy=policy()
            )
        return judged(store, run)

    if follow:
        return _follow(screen, chosen, diagnose, fail_on=level, ends_early=fail_on is not None)
    diagnosis = diagnose(chosen)
    if wanted is not None:
        _show_details(screen, store, chosen, diagnosis, wanted)
        return 0
    tries = _tries(store, chosen)
    if screen.wants_json:
        screen.json({**document(chosen, diagnosis), "tries": [one.to_json() for one in tries]})
    else:
        diagnosis_screen.show(screen, chosen, diagnosis, whole=show_all or not screen.for_people)
        if tries:
            from telemetry.cli.screens.tries import show_stored  # noqa: PLC0415 - numpy

            show_stored(screen, tries)
    return exit_code(diagnosis, level)


def _tries(store: "telemetry.Store", run: "Run") -> "Sequence[StoredTry]":
    from telemetry.trials.stored import stored_tries  # noqa: PLC0415 - duckdb

    return stored_tries(store, run)


def _selected(settings: Settings, selector: str) -> "tuple[telemetry.Store, Run]":
    store = telemetry.Store.open(settings.store)
    return store, store.select(selector)


def _followed(screen: Screen, settings: Settings, selector: str) -> "tuple[telemetry.Store, Run]":
    """The run to follow, named; `latest` is one that is being recorded, if need be a later one."""
    from telemetry.cli.screens import following  # noqa: PLC0415 - pyarrow, which --help does without

    if selector == LATEST:
        store = telemetry.Store.expected(settings.store)
        run = following.newest_run(screen, store)
    else:
        store, run = _selected(settings, selector)
    if not screen.wants_json:  # where each document names it
        following.show_run(screen, run)
    return store, run


def _show_details(
    screen: Screen, store: "telemetry.Store", run: "Run", diagnosis: Diagnosis, wanted: str
) -> None:
    from telemetry.cli.screens import finding_details  # noqa: PLC0415 - keeps --help fast
    from telemetry.diagnose.explanation import (  # noqa: PLC0415 - duckdb
        chosen_finding,
        explanation,
    )

    finding, place = chosen_finding(diagnosis, wanted)
    with store.session([run]) as session:
        explained = explanation(session, finding, place=place)
    if screen.wants_json:
        screen.json(finding_details.document(run, explained))
    else:
        finding_details.show(screen, run, diagnosis, explained)


def document(run: "Run", diagnosis: Diagnosis) -> "dict[str, Json]":
    """Body of `diagnose --json`."""
    return {
        "run": run.to_json(),
        **diagnosis.to_json(),
        "n_steps": diagnosis.n_steps,
        "n_samples": diagnosis.n_samples,
    }


def _follow(
    screen: Screen,
    run: "Run",
    diagnose: "Callable[[Run], Diagnosis]",
    *,
    fail_on: str,
    ends_early: bool,
) -> int:
    """Show what changes until the run ends, or, if so wished, until there is a reason to fail."""
    from telemetry.cli.screens import following  # noqa: PLC0415 - pyarrow, which --help does without

    code = 0
    for look in following.looks(screen, run, diagnose):
        code = exit_code(look.diagnosis, fail_on)
        if screen.wants_json:
            if look.changes or look.is_last:
                more = following.document(look)
                screen.json({**document(look.run, look.diagnosis), **more}, indent=None)
        else:
            show_some = partial(diagnosis_screen.show_findings, screen, diagnosis=look.diagnosis)
            following.show_changes(screen, look, show_some)
            if look.is_last:
                following.show_end(screen, look, diagnosis_screen.summary(look.diagnosis))
        if ends_early and code == EXIT_FOUND:
            break
    return code


def exit_code(diagnosis: Diagnosis, fail_on: str) -> int:
    """1 for a finding at or above the level, 3 when no detector could judge, else 0."""
    counted = [
        f for f in diagnosis.findings if fail_on != "never" and f.severity in failing(fail_on)
    ]
    if counted:
        return EXIT_FOUND
    found = diagnosis.findings or diagnosis.suppressed
    checked = bool(found or (diagnosis.passed and diagnosis.n_steps))
    return 0 if checked or fail_on == "never" else EXIT_NOTHING_CHECKED


def failing(fail_on: str) -> set[Severity]:
    """Severities that make the command fail; `info` never does."""
    limit = Severity(fail_on).rank
    return {severity for severity in Severity if severity.rank <= limit}
