"""Answers to `telemetry explain weights`: sentence, JSON, rows, picture."""

from functools import partial

import numpy as np

from telemetry import json_values
from telemetry.explain.models.subject import Subject
from telemetry.explain.pictures.characters import sign_lines
from telemetry.explain.pictures.colours import Bytes, Floats, hexadecimal, signed_colours
from telemetry.explain.pictures.draw import PANEL, TILE, Row, sheet_png
from telemetry.explain.pictures.thumbnails import GRID_SIDE
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.explain.units.layer_weights import LayerWeights, weights
from telemetry.json_values import Json
from telemetry.requests.explain.weights import KIND, ROW_KIND, WeightsRequest

TILES_A_ROW = 8
MOST_COLUMNS = 512  # of a heat map; neighbours beyond are drawn as the larger of them
UNDRAWN: dict[str, Json] = {"norms": [], "grid": None, "marks": []}  # one layer of many
NAMED = 8  # rows and pairs of a sentence


def answer(request: WeightsRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Describe the layers, and keep what is found; one layer alone is drawn, too.

    Raises:
        UsageError: see `weights`.
    """
    found = weights(
        subject,
        request.layer,
        top=request.top,
        seed=request.seed,
        initial=request.initial,
        progress=progress,
    )
    if request.layer is not None:
        return FORMAT.answers(found, request.keep)
    rows = [row for entry in found for row in rows_of(entry, {})]
    Keeper.of(request.keep).rows(KIND.table, rows, identity=KIND.identity)
    return {KIND.key: [{**document(entry, {}), **UNDRAWN} for entry in found]}


def sentence(found: LayerWeights) -> str:
    """The answer in words."""
    n = len(found.weight)
    fresh = f"a fresh layer of this shape: {found.random_rank:.1f}"
    said = [f"{found.layer}: {n} rows use {found.rank:.1f} directions ({fresh})"]
    if found.dead:
        said.append(f"{len(found.dead)} dead ({_some([str(i) for i in found.dead])})")
    if found.twins:
        pairs = [f"{i} = {j}" for i, j in found.twins]
        said.append(f"{len(pairs)} near-duplicate {_pairs(len(pairs))} ({_some(pairs)})")
    if not found.dead and found.twins == ():
        said.append("none dead, no duplicates")
    if found.drift is not None:
        said.append(f"training has changed it by {100 * found.drift:.0f} % of its first norm")
    return "; ".join(said) + "."


def picture(found: LayerWeights) -> bytes:
    """Filters as tiles, or rows as a heat map, the largest first; one scale, zero is white."""
    order = found.norms.argsort(descending=True, stable=True)[: found.top]
    drawn = found.weight[order].double().numpy()
    caption = f"{found.layer}: {legend(found)}"
    if not found.is_first_filters:
        heat = signed_colours(_thinned(drawn.reshape(len(drawn), -1)), found.scale)
        return sheet_png([Row(tiles=(heat,))], caption, found.id, side=2 * PANEL)
    tiles = filter_tiles(drawn, found.scale)
    rows = [
        Row(
            tiles=tuple(tiles[start : start + TILES_A_ROW]),
            names=tuple(map(str, order[start : start + TILES_A_ROW].tolist())),
        )
        for start in range(0, len(tiles), TILES_A_ROW)
    ]
    return sheet_png(rows, caption, found.id, side=TILE * drawn.shape[1])


def filter_tiles(filters: Floats, scale: float) -> list[Bytes]:
    """Filters in colours, their channels side by side.

    Args:
        filters: Shape (n, channels, height, width).
        scale: Value of the ends of the colours.
    """
    return [signed_colours(np.concatenate(list(kernel), axis=1), scale) for kernel in filters]


def _thinned(matrix: Floats) -> Floats:
    """At most so many columns: of each stretch the entry farthest from zero."""
    step = -(-matrix.shape[1] // MOST_COLUMNS)
    if step == 1:
        return matrix
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % step)))
    blocks = padded.reshape(len(matrix), -1, step)
    places = np.abs(blocks).argmax(2)[..., None]
    return np.asarray(np.take_along_axis(blocks, places, axis=2)[..., 0], dtype=np.float64)


def legend(found: LayerWeights) -> str:
    """What colours and signs mean, and what is drawn."""
    n = min(found.top, len(found.weight))
    what = f"{n} of {len(found.weight)} rows, the largest norms first"
    return f"blue +: above 0; orange -: below 0; colours end at {found.scale:.3g}; {what}"


def _on_a_screen(found: LayerWeights) -> Floats:
    """The rows of the largest norms, thinned to 64 a side."""
    order = found.norms.argsort(descending=True, stable=True)[: min(found.top, GRID_SIDE)]
    matrix = found.weight[order].flatten(1).double().numpy()
    return np.asarray(matrix[:, :: -(-matrix.shape[1] // GRID_SIDE)], dtype=np.float64)


def document(found: LayerWeights, files: Files) -> dict[str, Json]:
    """What `telemetry explain weights` shows."""
    norms, drawn = found.norms.tolist(), _on_a_screen(found)
    return {
        "viz_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "step": found.origin.step,
        "layer": found.layer,
        "module": found.kind,
        "shape": list(found.weight.shape),
        "rank": found.rank,
        "random_rank": found.random_rank,
        "dead": list(found.dead),
        "duplicates": None if found.twins is None else [list(pair) for pair in found.twins],
        "random_n_dead": found.random_n_dead,
        "random_n_duplicates": found.random_n_twins,
        "octaves": [[exponent, count] for exponent, count in sorted(found.octaves.items())],
        "smoothness": found.smoothness,
        "random_smoothness": found.random_smoothness,
        "drift": found.drift,
        "scale": found.scale,
        "norms": norms,
        "norm_min": min(norms),
        "norm_median": float(found.norms.median()),
        "norm_max": max(norms),
        "checks": [check_json(check) for check in found.checks],
        "ok": found.ok,
        "answer": sentence(found),
        "legend": legend(found),
        "grid": hexadecimal(signed_colours(drawn, found.scale)),
        "marks": sign_lines(drawn),
        "forwards": 0,
        "image": files.get("image"),
        "array": files.get("array"),
    }


def rows_of(found: LayerWeights, files: Files) -> list[dict[str, object]]:
    """The row of table `feature_visualizations`."""
    details: dict[str, Json] = {
        "random_rank": found.random_rank,
        "dead": list(found.dead),
        "duplicates": None if found.twins is None else [list(pair) for pair in found.twins],
        "drift": found.drift,
    }
    return [
        {
            "viz_id": found.id,
            "kind": ROW_KIND,
            "step": found.origin.step,
            "layer": found.layer,
            "n_units": len(found.weight),
            "n_dead": len(found.dead),
            "effective_rank": found.rank,
            "params": json_values.dumps({"top": found.top, "seed": found.seed}),
            "details": json_values.dumps(details),
            "array_path": files.get("array"),
            "image_path": files.get("image"),
            "forwards": 0,
            "seed": found.seed,
            **judged_columns(found, sentence(found)),
        }
    ]


def _pairs(n: int) -> str:
    return "pair" if n == 1 else "pairs"


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _kept(found: LayerWeights, keeper: Keeper) -> Files:
    return {
        "image": keeper.image(found.id, partial(picture, found)),
        "array": keeper.array(found.id, found.weight.numpy()),
    }


FORMAT: ResultFormat[LayerWeights] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
