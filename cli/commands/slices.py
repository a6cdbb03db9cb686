"""Find the group of examples on which a model is worst, or measure one group.

Examples:
  telemetry slices latest
  telemetry slices latest --by time,camera --depth 3 --confirm
  telemetry slices latest --where "m_time = 'night' AND confidence > 0.9"
  telemetry slices candidate --base main
  telemetry slices latest --save-hypothesis night-images
"""

from pathlib import Path

import click

import telemetry
from telemetry.cli.models.hypothesis_options import hypothesis_options
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output.render import open_screen
from telemetry.cli.screens.slices import present
from telemetry.errors import UsageError

GROUP = "Explain"
METRICS = ("error", "loss")


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default="latest")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    help="Metric to compare (default: error; loss if no answer is right or wrong).",
)
@click.option(
    "--by",
    metavar="COL,COL",
    help="Columns to group by (default: the label, all metadata, and all columns of a table).",
)
@click.option("--where", metavar="SQL", help="Measure only the examples that meet this condition.")
@click.option(
    "--depth",
    type=int,
    default=2,
    show_default=True,
    help="Maximum number of conditions per group.",
)
@click.option(
    "--min-size",
    type=int,
    metavar="N",
    help="Minimum number of examples per group (default 50 or 1 %).",
)
@click.option(
    "--q", type=float, default=0.05, show_default=True, help="Allowed share of false discoveries."
)
@click.option(
    "--base",
    metavar="RUN",
    shell_complete=complete_runs,
    help="Find groups that became worse since this run.",
)
@click.option(
    "--confirm", is_flag=True, help="Search in one half of the examples and test on the other."
)
@click.option("--dataset", metavar="NAME", help="Use this data set if several were evaluated.")
@click.option("--eval", "eval_id", metavar="ID", help="Use this evaluation instead of the newest.")
@hypothesis_options("Append a hypothesis to the file: the worst group is no worse than the rest.")
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    run: str,
    metric: str | None,
    by: str | None,
    where: str | None,
    depth: int,
    min_size: int | None,
    q: float,
    base: str | None,
    confirm: bool,
    dataset: str | None,
    eval_id: str | None,
    save_hypothesis: str | None,
    file: Path,
) -> int:
    """Search or measure, show, and fail if a group is worse."""
    from telemetry.evaluate.slicing import slices  # noqa: PLC0415 - duckdb

    if save_hypothesis is not None and base is not None:
        raise UsageError(
            "a change between two runs cannot be saved as a hypothesis; remove --base."
        )
    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    search = slices.Search(
        by=tuple(name.strip() for name in by.split(",")) if by else (),
        depth=depth,
        min_size=min_size,
        q=q,
        confirm=confirm,
    )
    subject = slices.SlicedRun(
        run=store.select(run),
        metric=slices.Metric(metric) if metric else None,
        base=store.select(base) if base else None,
        eval_id=eval_id,
        dataset=dataset,
    )
    found = (
        slices.find(store, subject, search)
        if where is None
        else slices.measure(store, subject, where, search)
    )
    if save_hypothesis is not None and found.slices:
        slices.save_hypothesis(file, save_hypothesis, found)
    elif save_hypothesis is not None:
        screen.warn(
            f"no group is worse than the rest, so the hypothesis {save_hypothesis} is not saved."
        )
    code = present(screen, found)
    if save_hypothesis is not None and found.slices and not screen.wants_json:
        screen.note(f"  hypothesis {save_hypothesis} is saved in {file}")
    return code
