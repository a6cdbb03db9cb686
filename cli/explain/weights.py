"""`telemetry explain weights`: what the weights of a layer look like, and whether they are used."""

from dataclasses import replace
from typing import TYPE_CHECKING

from telemetry.cli.models.options import names_weights
from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import listed, number, show_failures, show_picture
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.errors import UsageError
from telemetry.requests.explain.weights import KIND, WeightsRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.json_values import Json
    from telemetry.store.summaries.weight_table import StoredWeights

HISTOGRAM_WIDTH = 24
MOST_LAYERS = 3  # of a sentence


@explain_verb(KIND)
def verb(question: ModelQuestion, request: WeightsRequest, /) -> int:
    """Show the weights: effective rank, dead rows, near-duplicates; for one layer also its picture.

    Each number is shown with that of a freshly initialised layer of the same shape. If neither you
    nor the run names a model and checkpoint, the norms and histograms that the run recorded are
    shown; `telemetry layers` shows those of all layers, with their gradients and updates.

    Examples:
      telemetry explain weights latest
      telemetry explain weights latest conv1
      telemetry explain weights 7f3a --checkpoint ckpt/epoch3.pt
      telemetry explain weights 7f3a --step 1200
    """
    if request.step is not None or not names_weights(question.run, question.given):
        if question.html is not None:
            raise UsageError(
                "--html shows the weights of a checkpoint: add --model and --checkpoint."
            )
        _recorded(question, request)
        return 0
    files = question.weights
    found = question.ask(replace(request, initial=str(files[0]) if len(files) > 1 else None))
    if request.layer is None:
        return question.tell_together(found, _show_all)
    return question.tell(found, _show_one)


def _counted(found: "Sequence[Mapping[str, Json]]", key: str, noun: str) -> str:
    """`2 dead rows (conv1, fc)`: how many, and in which layers."""
    counts = {str(entry["layer"]): len(listed(entry[key])) for entry in found}
    where = [layer for layer, count in counts.items() if count]
    more = ", ..." if len(where) > MOST_LAYERS else ""
    named = f" ({', '.join(where[:MOST_LAYERS])}{more})" if where else ""
    return f"{plural(sum(counts.values()), noun)}{named}"


def _show_all(screen: Screen, found: "Sequence[Mapping[str, Json]]") -> None:
    """One line a layer."""
    dead = _counted(found, "dead", "dead row")
    twins = _counted(found, "duplicates", "pair")
    screen.paragraph(f"{plural(len(found), 'layer')}: {dead}, {twins} of near-duplicate rows.")
    for entry in found:
        show_failures(screen, entry)
    screen.blank()
    columns = (
        Column(header="LAYER", shrinks=True),
        Column(header="ROWS", align=Align.RIGHT),
        Column(header="RANK", align=Align.RIGHT),
        Column(header="FRESH", align=Align.RIGHT),
        Column(header="DEAD", align=Align.RIGHT),
        Column(header="TWINS", align=Align.RIGHT),
        Column(header="NORM", align=Align.RIGHT, rank=1),
        Column(header="MOST", align=Align.RIGHT, rank=2),
    )
    screen.grid(Grid(columns=columns, rows=tuple(map(_line, found))))
    screen.note("  name a layer to see its picture; RANK: directions used, FRESH: if untrained")


def _line(entry: "Mapping[str, Json]") -> tuple[Cell, ...]:
    n_dead, twins = len(listed(entry["dead"])), entry["duplicates"]
    return (
        str(entry["layer"]),
        str(listed(entry["shape"])[0]),
        f"{number(entry['rank']):.1f}",
        f"{number(entry['random_rank']):.1f}",
        Span(str(n_dead), Style.WARNING if n_dead else Style.PLAIN),
        "?" if twins is None else str(len(listed(twins))),
        numbers.number(number(entry["norm_median"])),
        numbers.number(number(entry["norm_max"])),
    )


def _show_one(screen: Screen, entry: "Mapping[str, Json]") -> None:
    """The answer, the rows as and what they are set beside."""
    screen.paragraph(str(entry["answer"]))
    show_failures(screen, entry)
    screen.blank()
    show_picture(screen, entry)
    columns = (
        Column(header=""),
        Column(header="HERE", align=Align.RIGHT),
        Column(header="FRESH", align=Align.RIGHT),
    )
    rows: list[tuple[Cell, ...]] = [
        ("effective rank", f"{number(entry['rank']):.2f}", f"{number(entry['random_rank']):.2f}"),
    ]
    n_dead, n_rows = len(listed(entry["dead"])), int(number(listed(entry["shape"])[0]))
    share = f"{n_dead} ({numbers.percent(n_dead / n_rows)})" if n_dead else "0"
    rows.append(("dead rows", share, str(entry["random_n_dead"])))
    if entry["duplicates"] is not None:
        n_twins = len(listed(entry["duplicates"]))
        rows.append(("pairs of near-duplicates", str(n_twins), str(entry["random_n_duplicates"])))
    if entry["smoothness"] is not None:
        fresh = f"{number(entry['random_smoothness']):.2f}"
        rows.append(("smoothness of kernels", f"{number(entry['smoothness']):.2f}", fresh))
    screen.grid(Grid(columns=columns, rows=tuple(rows)))
    extremes = [
        numbers.number(number(entry[f"norm_{which}"])) for which in ("min", "median", "max")
    ]
    screen.paragraph(
        f"norms of rows: {extremes[0]} least, {extremes[1]} median, {extremes[2]} most"
    )
    _magnitudes(screen, entry)


def _magnitudes(screen: Screen, entry: "Mapping[str, Json]") -> None:
    """How many weights each octave of magnitude has."""
    counts = {
        int(number(exponent)): number(count)
        for exponent, count in (listed(pair) for pair in listed(entry["octaves"]))
    }
    if not counts:
        return
    low, high = min(counts), max(counts)
    known = [counts.get(exponent, 0.0) for exponent in range(low, high + 1)]
    shown = sparklines.sparkline(sparklines.condense(known, HISTOGRAM_WIDTH), levels=screen.levels)
    screen.paragraph(f"{shown} of magnitudes from 2^{low} to 2^{high + 1}", label="octaves")


def _recorded(question: ModelQuestion, request: WeightsRequest) -> None:
    """What the run recorded of its weights.

    Raises:
        UsageError: no such layer.
    """
    from telemetry.store.summaries.weight_table import stored_weights  # noqa: PLC0415 - keeps --help fast

    screen, run = question.screen, question.run
    with question.store.session([run]) as session:
        at, shown = stored_weights(session, run, layer=request.layer, step=request.step)
    if screen.wants_json:
        screen.json(
            {"run": run.run, "stored": False, "recorded": [_json(row, at) for row in shown]}
        )
        return
    screen.paragraph(f"weights of {len(shown)} parameters, recorded at step {at}")
    screen.blank()
    screen.grid(_recorded_grid(screen, shown))
    screen.note("  add --model and --checkpoint for ranks, dead rows and pictures")


def _recorded_grid(screen: Screen, rows: "Sequence[StoredWeights]") -> Grid:
    exponents = [exponent for row in rows for exponent in row.octaves]
    low, high = min(exponents, default=0), max(exponents, default=0)
    columns = (
        Column(header="PARAMETER", shrinks=True),
        Column(header="SHAPE", rank=1),
        Column(header="NORM", align=Align.RIGHT),
        Column(header="RMS", align=Align.RIGHT),
        Column(header=f"2^{low} .. 2^{high + 1}", rank=2),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (
                row.parameter,
                row.shape,
                numbers.number(row.norm),
                numbers.number(None if row.norm is None else row.norm / max(row.n, 1) ** 0.5),
                _histogram(screen, row, low, high),
            )
            for row in rows
        ),
    )


def _histogram(screen: Screen, row: "StoredWeights", low: int, high: int) -> str:
    """One character an octave of magnitude."""
    counts = [row.octaves.get(exponent, 0.0) for exponent in range(low, high + 1)]
    shown = sparklines.condense(counts, HISTOGRAM_WIDTH)
    return sparklines.sparkline(shown, levels=screen.levels)


def _json(row: "StoredWeights", step: int) -> "dict[str, Json]":
    return {
        "layer": row.layer,
        "parameter": row.parameter,
        "shape": row.shape,
        "step": step,
        "n": row.n,
        "norm": row.norm,
        "octaves": [[exponent, count] for exponent, count in sorted(row.octaves.items())],
    }
