"""Sheets of what excites units: patches over their deconvolutions, and these over checkpoints."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from telemetry.explain.inputs.masks import Box
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.pictures.colours import (
    Bytes,
    Floats,
    signed_colours,
    signed_scale,
    unsigned_colours,
)
from telemetry.explain.pictures.draw import (
    UNIT,
    Row,
    labelled_tile,
    map_of,
    picture_of_input,
    sheet_png,
)
from telemetry.explain.units.layer_evolution import Course, Evolution
from telemetry.explain.units.unit_features import PATCHES, Features, Patch, UnitFeature

CELL = 16  # pixels, height of a step of a layer
AROUND = 224  # grey where a patch reaches over the edge of its image
TILE_SIDE = 72
ONE_MAP = "the same for every input"
LEGEND = (
    "above: the patches that activate a unit most, each with its activation; below: their "
    "deconvolution, the structure that the network passes on: blue raises the unit, orange "
    "lowers it; each of these rows has its own scale"
)


def features_png(found: Features, scale: UnitScale) -> bytes:
    """Each unit: its patches, the strongest first, and below each its deconvolution."""
    rows: list[Row] = []
    for unit in found.units:
        rows.append(_patches(found, unit, scale))
        maps = [patch.deconvolution for patch in unit.patches]
        if any(values is not None for values in maps):
            rows.append(_maps(found, unit, maps, ONE_MAP if unit.has_one_map else ""))
    told = LEGEND if found.has_deconvolutions else "patches that activate a unit most"
    caption = f"layer {found.layer}: {told}"
    return sheet_png(rows, caption, found.id, side=TILE_SIDE)


def evolution_png(
    found: Features,
    evolved: Evolution,
    over_time: Mapping[int, Sequence[Sequence[Tensor]]],
    scale: UnitScale,
    identity: str,
) -> bytes:
    """The course of every layer, then the deconvolutions of the same patches at each checkpoint.

    Args:
        found: What excites the units at the last checkpoint.
        evolved: Courses of the layers.
        over_time: For each unit and checkpoint the deconvolutions of its patches.
        scale: Of the inputs.
        identity: Kept in the file.
    """
    word = "step" if evolved.has_steps else "checkpoint"
    most = max(max(course.changes) for course in evolved.courses)
    rows = [
        Row(tiles=(), label=f"1 - CKA with the last {word}, by {word}: dark 0, yellow {most:.3g}"),
        *(_course(course, evolved.steps, most) for course in evolved.courses),
    ]
    for unit in found.units:
        rows.append(_patches(found, unit, scale))
        for step, maps in zip(evolved.steps, over_time.get(unit.unit, ()), strict=False):
            if unit.patches:
                rows.append(_maps(found, unit, maps, f"{word} {step}"))
    caption = f"layer {found.layer}: the same patches at every checkpoint; {LEGEND}"
    return sheet_png(rows, caption, identity, side=TILE_SIDE)


def _course(course: Course, steps: Sequence[int], most: float) -> Row:
    """A layer: one cell a checkpoint."""
    colours = unsigned_colours(np.array(course.changes, dtype=np.float64), most)
    cells = colours[:, None, None].repeat(CELL, axis=1).repeat(TILE_SIDE, axis=2)
    names = (f"{n}: {change:.1g}" for n, change in zip(steps, course.changes, strict=True))
    return Row(tiles=tuple(cells), label=f"layer {course.layer}", names=tuple(names))


def _patches(found: Features, unit: UnitFeature, scale: UnitScale) -> Row:
    nothing = ": dead" if unit.is_dead else ": no example stands out"
    tiles = [
        _cropped(picture_of_input(scale.unit(p.example.input), UNIT), p, found)
        for p in unit.patches
    ]
    n_more = PATCHES - len(tiles) if len(tiles) < min(PATCHES, found.n_examples) else 0
    names = [f"{patch.value:.3g}" for patch in unit.patches]
    if n_more:
        tiles.append(labelled_tile("dead" if unit.is_dead else "no more"))
        names.append("")
    return Row(
        tiles=tuple(tiles),
        label=f"unit {unit.unit}{'' if unit.patches else nothing}",
        names=tuple(names),
    )


def _maps(found: Features, unit: UnitFeature, maps: Sequence[Tensor | None], label: str) -> Row:
    flat = [
        (unit.patches[place], map_of(values))
        for place in unit.shown_maps
        if (values := maps[place]) is not None
    ]
    inside = [_inside(values, patch.box) for patch, values in flat]
    scale = signed_scale(np.concatenate([part.ravel() for part in inside])) if inside else 0.0
    return Row(
        tiles=tuple(_cropped(signed_colours(m, scale), patch, found) for patch, m in flat),
        label=label,
    )


def _inside(values: Floats, box: Box | None) -> Floats:
    if box is None:
        return values
    top, left, bottom, right = box
    return values[top:bottom, left:right]


def _cropped(picture: Bytes, patch: Patch, found: Features) -> Bytes:
    """The part that the unit sees, in a tile of the full size; grey beyond the image."""
    if patch.box is None or found.field is None:
        return picture
    top, left, bottom, right = patch.box
    height, width = found.field
    tile = np.full((height, width, 3), AROUND, dtype=np.uint8)
    down = height - (bottom - top) if top == 0 else 0
    across = width - (right - left) if left == 0 else 0
    tile[down : down + bottom - top, across : across + right - left] = picture[
        top:bottom, left:right
    ]
    return tile
