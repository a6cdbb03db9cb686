"""Answers to `telemetry explain dream`: sentence, JSON, rows, picture."""

from functools import partial

from torch import Tensor

from telemetry import json_values
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.subject import Subject
from telemetry.explain.pictures.characters import level_lines
from telemetry.explain.pictures.colours import hexadecimal
from telemetry.explain.pictures.draw import PANEL, UNIT, Row, picture_of_input, sheet_png
from telemetry.explain.pictures.thumbnails import thinned
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.explain.units.dreams import Dream, dream
from telemetry.json_values import Json
from telemetry.requests.explain.dream import KIND, ROW_KIND, DreamRequest

SIDE = PANEL // 2  # pixels of a tile


def answer(request: DreamRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Make the pictures, and keep them.

    Raises:
        UsageError: see `dream`.
    """
    found = dream(subject, request.layer, request.units, request.settings, progress)
    return FORMAT.answers(found, request.keep)


def sentence(found: Dream) -> str:
    """The answer in words."""
    who = f"unit {found.unit} of {found.layer}"
    classes = found.origin.classes
    if found.layer == "output" and found.unit.index < len(classes):
        who += f' ("{classes[found.unit.index]}")'
    if found.is_dead:
        return f"{who} is dead: its activation is the same for all {found.n_real} real examples."
    began = (
        " Noise does not activate it, so the picture started from a real example."
        if found.from_real
        else ""
    )
    twin = ""
    if found.best_unit != found.unit.index:
        twin = (
            f" The picture of unit {found.best_unit} activates it even more: both units look "
            "for nearly the same."
        )
    best = found.activations[0]
    side = "above" if best > found.real_max else "below the best of"
    return (
        f"{who} reaches an activation of {best:.3g} for the picture made for it, {found.z:.1f} "
        f"standard deviations above noise and {side} {found.n_real} real examples (most: "
        f"{found.real_max:.3g}); a network with random weights reaches {found.random_z:.1f} "
        f"above noise.{began}{twin}"
    )


def picture(found: Dream) -> bytes:
    """The pictures of all seeds, that of a random network, and the real examples."""
    made = [picture_of_input(part, UNIT) for part in found.pictures]
    reached = tuple(f"{value:.3g}" for value in found.activations)
    real = [picture_of_input(_unit(found, example.input), UNIT) for example, _ in found.top]
    rows = [
        Row(tiles=tuple(made), label="made, one a seed, with the activation", names=reached),
        Row(
            tiles=(picture_of_input(found.random_picture, UNIT),),
            label=f"the same for random weights: {found.random_z:.1f} sd above noise",
        ),
    ]
    for start in range(0, len(real), len(real) // 2 + 1):
        part = found.top[start : start + len(real) // 2 + 1]
        values = tuple(f"{value:.3g}" for _, value in part)
        tiles = tuple(real[start : start + len(part)])
        rows.append(Row(tiles=tiles, label="" if start else "real examples", names=values))
    caption = f"unit {found.unit} of {found.layer}: {found.z:.1f} sd above noise"
    return sheet_png(rows, caption, found.id, side=SIDE)


def _unit(found: Dream, values: Tensor) -> Tensor:
    assert found.origin.examples is not None  # noqa: S101 - `dream` has seen to it
    return UnitScale.of(found.origin.examples).unit(values)


def _kept(found: Dream, keeper: Keeper) -> Files:
    return {
        "image": keeper.image(found.id, partial(picture, found)),
        "array": keeper.array(found.id, found.pictures.numpy()),
    }


def document(found: Dream, files: Files) -> dict[str, Json]:
    """What `telemetry explain dream` shows."""
    best = picture_of_input(found.pictures[0], UNIT)
    return {
        "viz_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "step": found.origin.step,
        "layer": found.layer,
        "unit": found.unit.index,
        "position": None if found.unit.position is None else list(found.unit.position),
        "activation": found.activations[0],
        "activations": list(found.activations),
        "from_real": found.from_real,
        "noise_mean": found.noise_mean,
        "noise_std": found.noise_sd,
        "z": found.z,
        "random_z": found.random_z,
        "best_real": found.real_max,
        "real_std": found.real_sd,
        "dead": found.is_dead,
        "top": [{"example_id": e.id, "value": value} for e, value in found.top],
        "argmax_unit": found.best_unit,
        "seed_correlation": found.seed_correlation,
        "seed": found.seed,
        "params": dict(found.params),
        "seconds": found.seconds,
        "checks": [check_json(check) for check in found.checks],
        "ok": found.ok,
        "answer": sentence(found),
        "legend": "the picture made for the unit, from dark to light",
        "grid": hexadecimal(thinned(best)),
        "marks": level_lines(best),
        "forwards": found.forwards,
        "image": files.get("image"),
        "array": files.get("array"),
    }


def rows_of(found: Dream, files: Files) -> list[dict[str, object]]:
    """The row of table `feature_visualizations`."""
    position: list[Json] | None = None
    if found.unit.position is not None:
        position = list(found.unit.position)
    details: dict[str, Json] = {
        "activations": list(found.activations),
        "from_real": found.from_real,
        "random_z": found.random_z,
        "argmax_unit": found.best_unit,
        "seed_correlation": found.seed_correlation,
    }
    return [
        {
            "viz_id": found.id,
            "kind": ROW_KIND,
            "step": found.origin.step,
            "layer": found.layer,
            "unit": found.unit.index,
            "position": None if position is None else json_values.dumps(position),
            "dataset": found.origin.dataset or None,
            "example_ids": json_values.dumps([example.id for example, _ in found.top]),
            "objective": found.activations[0],
            "noise_mean": found.noise_mean,
            "noise_sd": found.noise_sd,
            "real_max": found.real_max,
            "z": found.z,
            "dead": found.is_dead,
            "params": json_values.dumps(dict(found.params)),
            "details": json_values.dumps(details),
            "array_path": files.get("array"),
            "image_path": files.get("image"),
            "forwards": found.forwards,
            "seed": found.seed,
            **judged_columns(found, sentence(found)),
        }
    ]


FORMAT: ResultFormat[Dream] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
