"""Show every layer of a run: gradient, weight, update ratio, dead and saturated units.

These are numbers that the run recorded while it trained; `telemetry explain weights` looks into the
weights of a checkpoint: rank, dead rows, near-duplicates.

Examples:
  telemetry layers latest
  telemetry layers 7f3a --step 1200 --sort grad
  telemetry layers base --around 8900 --sort ratio --all
  telemetry layers base --range 0:200 --quantiles
  telemetry layers base --json
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens.run_lines import trained_line
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.errors import Inconclusive, StoreUnreadable, UsageError
from telemetry.finding import MODEL_ITSELF
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run
    from telemetry.store.summaries.layer_table import LayerRow, Window

GROUP = "Look"
SHOWN_ROWS = 40  # of a terminal; a pipe and --all get every row
QUANTILE_HEADERS = ("p01", "p25", "p50", "p75", "p99")
IN_ORDER = "depth"
# Largest first, and what is not a number before all: that is what one looks for.
SORTS: dict[str, Callable[["LayerRow"], float | None]] = {
    "grad": lambda row: row.grad_norm,
    "weight": lambda row: row.weight_norm,
    "ratio": lambda row: row.update_ratio,
    "dead": lambda row: row.dead_share,
    "saturated": lambda row: row.saturated_share,
}
NORMS = frozenset({"grad", "weight", "ratio"})  # of the finite elements alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which steps to show: one of the three, or the last sample when all are None."""

    step: int | None
    around: int | None
    range_: str | None


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default="latest")
@click.option(
    "--step",
    metavar="STEP",
    type=click.IntRange(0),
    help="Show this sampled step (default: the last one).",
)
@click.option(
    "--around",
    metavar="STEP",
    type=click.IntRange(0),
    help="Show the sampled step nearest to this one.",
)
@click.option(
    "--range", "range_", metavar="A:B", help="Show medians over the samples of these steps."
)
@click.option(
    "--sort",
    type=click.Choice([IN_ORDER, *SORTS]),
    default=IN_ORDER,
    help="Sort by this column, largest first (default: order of execution).",
)
@click.option("--quantiles", is_flag=True, help="Also show quantiles of gradients and weights.")
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Show every row, also biases and normalisation layers.",
)
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    run: str,
    step: int | None,
    around: int | None,
    range_: str | None,
    sort: str,
    quantiles: bool,
    show_all: bool,
) -> None:
    """Choose the samples, read them, write the table."""
    from telemetry.store.summaries import layer_table  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.summaries.trained_parameters import trained_parameters  # noqa: PLC0415 - as above

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    chosen = store.select(run)
    if chosen.manifest is None:
        raise StoreUnreadable(f"run {chosen.run} cannot be shown: {chosen.reason}")
    with store.session([chosen]) as session:
        steps = layer_table.sampled_steps(session, chosen)
        shown = window(steps.tolist(), Request(step=step, around=around, range_=range_))
        whole = layer_table.Window(first=int(steps[0]), last=int(steps[-1]))
        rows = layer_table.layer_rows(
            session, chosen, shown=shown, trend=shown if range_ else whole, quantiles=quantiles
        )
        trained = trained_parameters(session, chosen)
        warnings = session.warnings
    show_warnings(screen, warnings)
    if not rows:
        raise Inconclusive(
            f"run {chosen.name} ({chosen.short}) has no samples of parameters or activations; "
            f"`telemetry show {chosen.short}` shows its losses."
        )
    rows = ordered(rows, sort)
    if screen.wants_json:
        document = to_json(chosen, shown, rows, quantiles=quantiles, ranged=range_ is not None)
        screen.json({**document, "trained": trained.to_json()})
        return
    n_samples = sum(shown.first <= s <= shown.last for s in steps.tolist())
    screen.note(*_title(chosen, shown, n_samples))
    if described := trained_line(trained):
        screen.note(Span(described, Style.FAINT))
    kept = rows if show_all or not screen.for_people else main_rows(rows)[:SHOWN_ROWS]
    screen.grid(_grid(screen, kept))
    if quantiles:
        screen.blank()
        screen.grid(_quantile_grid(kept))
    _footer(screen, rows, kept)


def window(steps: Sequence[int], request: Request) -> "Window":
    """The steps to show.

    Raises:
        UsageError: more than one way was given, the step was not sampled, or the range holds no
            sample.
    """
    import numpy as np  # noqa: PLC0415 - keeps --help fast

    from telemetry.store.summaries.layer_table import Window, exact_step, nearest_step  # noqa: PLC0415

    given = [v for v in (request.step, request.around, request.range_) if v is not None]
    if len(given) > 1:
        raise UsageError("--step, --around and --range exclude each other; use one of them.")
    sampled = np.asarray(steps, dtype=np.int64)
    if request.range_ is not None:
        first, last = parse_range(request.range_)
        inside = [s for s in steps if first <= s and (last is None or s <= last)]
        if not inside:
            raise UsageError(
                f"no step in {request.range_} was sampled; sampled steps are "
                f"{numbers.steps(steps[0], steps[-1])}."
            )
        return Window(first=inside[0], last=inside[-1])
    if request.step is not None:
        at = exact_step(sampled, request.step)
    else:
        at = steps[-1] if request.around is None else nearest_step(sampled, request.around)
    return Window(first=at, last=at)


def parse_range(text: str) -> tuple[int, int | None]:
    """First and last step of `A:B`; either may be missing.

    Raises:
        UsageError: another form, or the last before the first.
    """
    first, separator, last = text.partition(":")
    try:
        parsed = int(first or 0), (int(last) if last else None)
    except ValueError:
        separator = ""
    if not separator or (parsed[1] is not None and parsed[1] < parsed[0]):
        raise UsageError(f"--range {text!r} is not A:B with A <= B; write 0:200 or 1000:.")
    return parsed


def ordered(rows: Sequence["LayerRow"], sort: str) -> list["LayerRow"]:
    """Rows in order of execution, or largest first; rows without the value at the end."""
    if sort == IN_ORDER:
        return list(rows)

    def key(row: "LayerRow") -> tuple[int, float]:
        value = SORTS[sort](row)
        if row.nonfinite and sort in NORMS:
            return (0, -row.nonfinite)
        if value is None:
            return (2, 0.0)
        return (1, -value) if math.isfinite(value) else (0, 0.0)

    return sorted(rows, key=key)


def main_rows(rows: Sequence["LayerRow"]) -> list["LayerRow"]:
    """Rows without vectors; all rows where nothing else is there."""
    return [row for row in rows if row.parameter is None or "," in row.shape] or list(rows)


def to_json(
    run: "Run", shown: "Window", rows: Sequence["LayerRow"], *, quantiles: bool, ranged: bool
) -> dict[str, Json]:
    """Body of `layers --json`."""
    where: dict[str, Json] = (
        {"range": [shown.first, shown.last]} if ranged else {"step": shown.last}
    )
    return {
        "run": run.to_json(),
        **where,
        "layers": [
            {
                name: getattr(row, name)
                for name in row.__dataclass_fields__
                if name != "quantiles" or quantiles
            }
            for row in rows
        ],
    }


def _title(run: "Run", shown: "Window", n_samples: int) -> tuple[Cell, ...]:
    steps = numbers.steps(shown.first, shown.last)
    text = f"step {steps}" if n_samples == 1 else f"steps {steps}, medians of {n_samples} samples"
    return Span(run.name, Style.STRONG), run.short, text


def _grid(screen: Screen, rows: Sequence["LayerRow"]) -> Grid:
    right = Align.RIGHT
    saturating = any(row.saturated_share is not None for row in rows)
    broken = any(row.nonfinite for row in rows)
    columns = (
        Column(header="#", align=right, rank=3),
        Column(header="PARAMETER", shrinks=True),
        Column(header="SHAPE", align=right, rank=2),
        Column(header="GRAD", align=right),
        Column(header="trend", rank=1),
        Column(header="WEIGHT", align=right),
        Column(header="UPD/W", align=right),
        Column(header="DEAD", align=right),
        *([Column(header="SATURATED", align=right)] if saturating else []),
        *([Column(header="NAN/INF", align=right)] if broken else []),
    )
    table: tuple[tuple[Cell, ...], ...] = tuple(
        (
            numbers.NOTHING if row.depth is None else str(row.depth),
            label(row),
            shape(row.shape),
            _norm(row.grad_norm),
            screen.trend(row.trend),
            _norm(row.weight_norm),
            numbers.compact(row.update_ratio),
            _share(row.dead_share),
            *([_share(row.saturated_share)] if saturating else []),
            *([_broken(row)] if broken else []),
        )
        for row in rows
    )
    return Grid(columns=columns, rows=table)


def label(row: "LayerRow") -> str:
    """The parameter, or the module with its class."""
    return row.parameter or f"{row.layer or MODEL_ITSELF} ({row.module_type})"


def shape(text: str) -> str:
    """`384x1152` from `[384, 1152]`."""
    return text.strip("[]").replace(", ", "x").replace(",", "x") or numbers.NOTHING


def _norm(value: float | None) -> Span:
    bad = value is not None and not math.isfinite(value)
    return Span(numbers.compact(value), Style.ERROR if bad else Style.PLAIN)


def _broken(row: "LayerRow") -> Span:
    if not row.nonfinite:
        return Span(numbers.NOTHING, piped="0")
    return counted(row.nonfinite, Style.ERROR)


def _share(value: float | None) -> str:
    return numbers.percent(value)


def _quantile_grid(rows: Sequence["LayerRow"]) -> Grid:
    columns = (
        Column(header="PARAMETER", shrinks=True),
        Column(header="KIND"),
        *(Column(header=name, align=Align.RIGHT) for name in QUANTILE_HEADERS),
    )
    table = tuple(
        (label(row), kind, *(numbers.compact(values.get(name)) for name in QUANTILE_HEADERS))
        for row in rows
        for kind, values in row.quantiles.items()
    )
    return Grid(columns=columns, rows=table)


def _footer(screen: Screen, rows: Sequence["LayerRow"], kept: Sequence["LayerRow"]) -> None:
    notes = []
    if len(kept) < len(rows):
        notes.append(f"{plural(len(rows), 'row')}, {len(kept)} shown, --all for every parameter")
    if any(row.nonfinite for row in kept):
        notes.append("NAN/INF: number of non-finite elements; norms are over the others")
    matrices = [row for row in main_rows(rows) if row.grad_norm and row.depth is not None]
    if len(matrices) > 1:
        by_depth = sorted(matrices, key=lambda row: row.depth or 0)
        ratio = (by_depth[0].grad_norm or 0) / (by_depth[-1].grad_norm or 1)
        notes.append(f"gradient norm of the first layer / last layer: {ratio:.2g}")
    if notes:
        screen.note(Span("; ".join(notes), Style.FAINT))
