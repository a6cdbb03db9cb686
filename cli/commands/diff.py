"""Compare two runs or groups of runs: whether the candidate is worse, and where they first differ.

Examples:
  telemetry diff base candidate
  telemetry diff latest~1 latest --metric val_loss --margin 2%
  telemetry diff --base tag=main --candidate tag=pr-12
  telemetry diff "demo/convnet-*" "demo/wide-*" --direction my_score=higher
  telemetry diff --baseline-file main.json tag=pr-12 --fail-on regression --junit diff.xml
"""

import math
from collections.abc import Sequence
from pathlib import Path

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.options import Settings, complete_runs, markdown_option, verb
from telemetry.cli.output.render import open_screen
from telemetry.cli.screens.diff_outputs import annotate, present, write_junit
from telemetry.cli.screens.slices import present as present_slices
from telemetry.cli.screens.store_warnings import warn_of_files
from telemetry.compare.terms import Axis, Direction, Verdict
from telemetry.errors import UsageError

GROUP = "Compare"
FAIL_ON = ("inconclusive", "regression", "never")


@verb(__name__, __doc__)
@click.argument("runs", metavar="[BASE CANDIDATE]", shell_complete=complete_runs, nargs=-1)
@click.option(
    "--base", metavar="SELECTOR", help="Compare with this run or group: RUN, tag=x, 'sweep/*'."
)
@click.option("--candidate", metavar="SELECTOR", help="Compare this run or group.")
@click.option(
    "--baseline-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Use a file of `telemetry export RUN... --baseline FILE` as the base.",
)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Compare this metric; the first one decides the verdict.",
)
@click.option(
    "--margin",
    metavar="SHARE",
    default="1%",
    show_default=True,
    help="Smallest relative change that matters in practice.",
)
@click.option(
    "--direction",
    "directions",
    metavar="METRIC=higher",
    multiple=True,
    help="Which direction of a metric is better.",
)
@click.option(
    "--by",
    type=click.Choice([axis.value for axis in Axis]),
    default=Axis.STEP.value,
    help="Axis to compare curves along (default: step; samples if batch sizes differ).",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default=FAIL_ON[0],
    show_default=True,
    help="Verdicts that give a nonzero exit code: both, only a regression, or none.",
)
@markdown_option
@click.option(
    "--github",
    is_flag=True,
    help="Print GitHub annotations instead of the screen, and write Markdown to the job summary.",
)
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write JUnit XML, with one test per metric.",
)
@click.option(
    "--slices",
    is_flag=True,
    help=(
        "Find groups of evaluated examples on which the candidate became worse, instead of "
        "comparing metrics."
    ),
)
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    runs: tuple[str, ...],
    base: str | None,
    candidate: str | None,
    baseline_file: Path | None,
    metrics: tuple[str, ...],
    margin: str,
    directions: tuple[str, ...],
    fail_on: str,
    github: bool,
    junit: Path | None,
    by: str,
    slices: bool,
) -> int:
    """Choose the two sides, compare, and fail on a regression."""
    from telemetry.store.runs.select import select_group  # noqa: PLC0415 - keeps --help fast
    from telemetry.trials.stored import tries_of  # noqa: PLC0415 - as above

    selectors = chosen_sides(runs, base, candidate, baseline_file)
    if slices:
        if baseline_file or metrics or github or junit or settings.output_markdown:
            raise UsageError(
                "--slices compares evaluated examples, not metrics; use it with two runs only."
            )
        return changed_slices(settings, *selectors)
    share, ways = parse_margin(margin), parse_directions(directions)
    screen = open_screen(settings)
    if github and (settings.output_json or settings.output_markdown):
        raise UsageError("--github writes annotations to stdout; remove --json or --markdown.")
    kept = None if baseline_file is None else telemetry.read_baseline(baseline_file)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    sides = [select_group(known, selector) for selector in selectors]
    diff = telemetry.diff_runs(
        store,
        kept or sides[0],
        sides[-1],
        metrics=metrics or None,
        margin=share,
        directions=ways,
        axis=Axis(by),
        policy=policy(),
    )
    compared = [run for side in sides for run in side]
    warn_of_files(screen, compared)
    tries = tries_of(store, compared)
    code = exit_code(diff.verdict, fail_on)
    if junit is not None:
        write_junit(junit, diff, fails=code != 0)
    if github:
        annotate(screen, settings, diff, tries, fails=code != 0)
    else:
        present(screen, diff, tries)
    return code


def changed_slices(settings: Settings, base: str, candidate: str) -> int:
    """`telemetry slices CANDIDATE --base BASE`, where one looks for differences."""
    from telemetry.evaluate.slicing.slices import SlicedRun, find  # noqa: PLC0415 - duckdb

    store = telemetry.Store.open(settings.store)
    subject = SlicedRun(run=store.select(candidate), base=store.select(base))
    return present_slices(open_screen(settings), find(store, subject))


def exit_code(verdict: Verdict, fail_on: str) -> int:
    """1 for a regression, 3 for an inconclusive comparison, 0 where --fail-on excludes it."""
    failing = {
        "inconclusive": {Verdict.REGRESSION: 1, Verdict.INCONCLUSIVE: 3},
        "regression": {Verdict.REGRESSION: 1},
        "never": {},
    }
    return failing[fail_on].get(verdict, 0)


def chosen_sides(
    runs: Sequence[str], base: str | None, candidate: str | None, baseline_file: Path | None
) -> tuple[str, ...]:
    """The selectors of base and candidate, or of the candidate alone where a file is the base.

    Raises:
        UsageError: fewer or more than that.
    """
    if baseline_file is None:
        return two_sides(runs, base, candidate)
    given = [side for side in (base, *runs, candidate) if side is not None]
    if base is not None or len(given) != 1:
        raise UsageError(
            f"--baseline-file is the base, so diff needs one candidate, but got {len(given)}; "
            "write `telemetry diff --baseline-file FILE CANDIDATE`."
        )
    return (given[0],)


def two_sides(runs: Sequence[str], base: str | None, candidate: str | None) -> tuple[str, str]:
    """The two selectors, from arguments, options or both.

    Raises:
        UsageError: fewer or more than two.
    """
    given = [side for side in (base, *runs, candidate) if side is not None]
    if len(given) != 2:  # noqa: PLR2004 - base and candidate
        raise UsageError(
            f"diff compares two runs, but got {len(given)}; write `telemetry diff BASE "
            "CANDIDATE`, or use --base and --candidate."
        )
    return given[0], given[1]


def parse_margin(text: str) -> float:
    """A share from `1%`, `1 %` or `0.01`.

    Raises:
        UsageError: not a number between 0 and 100 %.
    """
    number = text.strip()
    scale = 100.0 if number.endswith("%") else 1.0
    try:
        margin = float(number.removesuffix("%")) / scale
    except ValueError:
        margin = math.nan
    if not 0 <= margin < 1:
        raise UsageError(f"--margin {text!r} is not a share; write 1% or 0.01.")
    return margin


def parse_directions(texts: Sequence[str]) -> dict[str, Direction]:
    """Directions from `metric=higher` and `metric=lower`.

    Raises:
        UsageError: another form.
    """
    parsed: dict[str, Direction] = {}
    for text in texts:
        name, separator, word = text.rpartition("=")
        if not separator or not name or word not in list(Direction):
            raise UsageError(f"--direction {text!r} is not METRIC=higher or METRIC=lower.")
        parsed[name] = Direction(word)
    return parsed
