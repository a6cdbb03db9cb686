"""Answers to `telemetry explain features`: sentence, JSON, rows, pictures."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from telemetry import json_values
from telemetry.capture.tensors.predictions import class_name
from telemetry.explain.inputs.examples import Example
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.models.layers import listening
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import check_json
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.explain.units.feature_pictures import LEGEND, evolution_png, features_png
from telemetry.explain.units.layer_evolution import (
    Evolution,
    Moment,
    at_checkpoints,
    evolution,
)
from telemetry.explain.units.unit_features import (
    Features,
    UnitFeature,
    deconvolution,
    features,
)
from telemetry.json_values import Json
from telemetry.requests.explain.features import (
    DECONVOLUTION,
    EVOLUTION,
    KIND,
    TOP_EXAMPLES,
    FeaturesRequest,
)

NAMED = 5  # layers of a sentence


def answer(request: FeaturesRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Find what excites the units, follow it over checkpoints if asked, and keep it.

    Raises:
        UsageError: see `features` and `evolution`.
    """
    key, settings, evolved = request.source.state_key, request.settings, None
    if settings.evolution:
        evolved = evolution(
            subject, request.files, state_key=key, batch=settings.batch, progress=progress
        )
        last = evolved.moments[-1].path
        subject = at_checkpoints(subject).with_weights(last, state_key=key)
    found = features(subject, request.layer, settings, progress)
    keeper = Keeper.of(request.keep)
    told = FORMAT.kept(found, keeper)
    if evolved is not None:
        course, forwards = _evolution_answer(found, evolved, subject, request, keeper)
        told["evolution"] = course
        told["forwards"] = found.forwards + forwards
        told["answer"] = f"{sentence(found)} {evolution_sentence(evolved)}"
        told["ok"] = found.ok and evolved.ok
        told["checks"] = [check_json(check) for check in (*found.checks, *evolved.checks)]
    return {KIND.key: [told]}


def sentence(found: Features) -> str:
    """The answer in words."""
    dead = f"{found.n_dead} of them dead" if found.n_dead else "none dead"
    units = "1 unit" if found.n_units == 1 else f"{found.n_units} units"
    said = f"{found.layer} has {units}, {dead} on {found.n_examples} examples"
    if found.field is not None:
        said += f"; each position sees {found.field[0]} x {found.field[1]} pixels"
    alive = [unit for unit in found.units if unit.patches]
    if not alive:
        return said + "."
    unit = alive[0]
    excited = f"{said}. Unit {unit.unit} is activated most by {unit.patches[0].example.id}"
    values = [p.example.label for p in unit.patches if isinstance(p.example.label, float)]
    if values:
        said = f"{excited}; its patches have values from {min(values):.4g} to {max(values):.4g}."
        return said + _of_one_map(found)
    labels = [_label(patch.example, found.origin.classes) for patch in unit.patches]
    most = max(sorted(set(labels)), key=labels.count)
    said = f"{excited}; {labels.count(most)} of its {len(labels)} patches have the label {most}."
    return said + _of_one_map(found)


def _of_one_map(found: Features) -> str:
    """Of which units the deconvolution is one picture, as a sentence; empty: of none."""
    drawn = [unit for unit in found.units if len(unit.patches) > 1]
    alike = [str(unit.unit) for unit in drawn if unit.has_one_map]
    if not alike:
        return ""
    which = "" if len(alike) == len(drawn) else f" of {_some(alike)}"
    return f" The deconvolution{which} is the same for every input, and is shown once."


def _label(example: Example, classes: Sequence[str]) -> str:
    """Name of a class, a value in few digits."""
    if isinstance(example.label, int):
        return class_name(example.label, classes)
    return f"{example.label:.4g}" if isinstance(example.label, float) else str(example.label)


def evolution_sentence(evolved: Evolution) -> str:
    """When the layers have settled, in words."""
    word = "step" if evolved.has_steps else "checkpoint"
    still = [course.layer for course in evolved.courses if course.is_unchanged]
    said = [f"{_some(still)} unchanged"] if still else []
    settled: dict[int, list[str]] = {}
    for course in evolved.courses:
        at = course.settled(evolved.steps)
        if at is not None:
            settled.setdefault(at, []).append(course.layer)
    for at, layers in sorted(settled.items()):
        ending = "s" if len(layers) == 1 else ""
        if at == evolved.steps[-1]:  # far from what it becomes at the checkpoint before
            said.append(f"{_some(layers)} still change{ending} at the end")
        else:
            said.append(f"{_some(layers)} settle{ending} at {word} {at}")
    return f"Of {word}s {evolved.steps[0]} to {evolved.steps[-1]}: {'; '.join(said)}."


def picture(found: Features) -> bytes | None:
    """The sheet of patches and deconvolutions; None for what is no image."""
    if found.field is None or found.origin.examples is None:
        return None
    return features_png(found, UnitScale.of(found.origin.examples))


def _kept(found: Features, keeper: Keeper) -> Files:
    """The sheet, and the deconvolutions of each unit by its id."""
    files = {"image": keeper.image(found.id, partial(picture, found))}
    for unit in found.units:
        maps = [p.deconvolution for p in unit.patches if p.deconvolution is not None]
        if maps:
            identity = _unit_id(found, unit)
            files[identity] = keeper.array(identity, torch.stack(maps).numpy())
    return files


def _unit_id(found: Features, unit: UnitFeature) -> str:
    return identity_of({"of": found.id, "unit": unit.unit})


def document(found: Features, files: Files) -> dict[str, Json]:
    """What `telemetry explain features` shows."""
    return {
        "viz_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "step": found.origin.step,
        "layer": found.layer,
        "n_units": found.n_units,
        "n_dead": found.n_dead,
        "n": found.n_examples,
        "field": None if found.field is None else list(found.field),
        "units": [
            {
                "viz_id": _unit_id(found, unit),
                "unit": unit.unit,
                "dead": unit.is_dead,
                "one_map": unit.has_one_map,
                "patches": [
                    {
                        "example_id": patch.example.id,
                        "label": _label(patch.example, found.origin.classes),
                        "value": patch.value,
                        "place": None if patch.place is None else list(patch.place),
                        "box": None if patch.box is None else list(patch.box),
                    }
                    for patch in unit.patches
                ],
                "array": files.get(_unit_id(found, unit)),
            }
            for unit in found.units
        ],
        "evolution": None,
        "params": dict(found.params),
        "seconds": found.seconds,
        "checks": [check_json(check) for check in found.checks],
        "ok": found.ok,
        "answer": sentence(found),
        "legend": LEGEND if found.field is not None else "",
        "forwards": found.forwards,
        "image": files.get("image"),
    }


def rows_of(found: Features, files: Files) -> list[dict[str, object]]:
    """Rows of table `feature_visualizations`, one a unit."""
    return [_row(found, unit, files) for unit in found.units]


def _row(found: Features, unit: UnitFeature, files: Files) -> dict[str, object]:
    """The row of a unit in table `feature_visualizations`."""
    details: list[Json] = [
        {
            "value": patch.value,
            "label": _label(patch.example, found.origin.classes),
            "box": None if patch.box is None else list(patch.box),
        }
        for patch in unit.patches
    ]
    return {
        "viz_id": _unit_id(found, unit),
        "kind": TOP_EXAMPLES if found.field is None else DECONVOLUTION,
        "step": found.origin.step,
        "layer": found.layer,
        "unit": unit.unit,
        "dataset": found.origin.dataset or None,
        "example_ids": json_values.dumps([patch.example.id for patch in unit.patches]),
        "objective": unit.patches[0].value if unit.patches else None,
        "real_max": unit.patches[0].value if unit.patches else None,
        "dead": unit.is_dead,
        "params": json_values.dumps(dict(found.params)),
        "details": json_values.dumps(details),
        "array_path": files.get(_unit_id(found, unit)),
        "image_path": files.get("image"),
        "forwards": found.forwards,
        **judged_columns(found, sentence(found)),
    }


def _evolution_answer(
    found: Features,
    evolved: Evolution,
    subject: Subject,
    request: FeaturesRequest,
    keeper: Keeper,
) -> tuple[dict[str, Json], int]:
    """What is shown of the course of the layers, and what it cost."""
    identity = identity_of(
        {"of": found.id, "evolution": [moment.digest for moment in evolved.moments]}
    )
    image, forwards = None, evolved.forwards
    if keeper.files is not None and found.field is not None and subject.examples is not None:
        scale = UnitScale.of(subject.examples)
        drawn: dict[int, list[list[Tensor]]] = {}
        if found.has_deconvolutions:
            key = request.source.state_key
            drawn, more = _over_time(found, evolved.moments, subject, key)
            forwards += more
        page = evolution_png(found, evolved, drawn, scale, identity)
        image = keeper.image(identity, lambda: page)
    rows = _evolution_rows(evolved, identity, subject, image)
    keeper.rows(KIND.table, rows, identity=KIND.identity)
    shown: dict[str, Json] = {
        "viz_id": identity,
        "steps": list(evolved.steps),
        "has_steps": evolved.has_steps,
        "layers": [
            {
                "layer": course.layer,
                "changes": list(course.changes),
                "unchanged": course.is_unchanged,
                "settled": course.settled(evolved.steps),
            }
            for course in evolved.courses
        ],
        "forwards": forwards,
        "image": image,
    }
    return shown, forwards


def _over_time(
    found: Features, over: Sequence[Moment], subject: Subject, state_key: str | None
) -> tuple[dict[int, list[list[Tensor]]], int]:
    """Deconvolutions of the same patches, by unit and checkpoint, and what they cost."""
    maps: dict[int, list[list[Tensor]]] = {unit.unit: [] for unit in found.units}
    other, forwards = at_checkpoints(subject), 0
    for moment in over:
        then = other.with_weights(moment.path, state_key=state_key)
        with then.running(gradient=True), listening(then, found.layer) as layer:
            for unit in found.units:
                maps[unit.unit].append(
                    [
                        deconvolution(layer, patch.example.input, unit.unit, patch.place)[0]
                        for patch in unit.patches
                    ]
                )
        forwards += layer.forwards
    return maps, forwards


def _evolution_rows(
    evolved: Evolution,
    identity: str,
    subject: Subject,
    image: str | None,
) -> list[dict[str, object]]:
    """Rows of table `feature_visualizations`, one a layer and checkpoint."""
    checks = json_values.dumps([check_json(check) for check in evolved.checks])
    params = json_values.dumps({"checkpoints": len(evolved.moments)})
    return [
        {
            "viz_id": identity,
            "kind": EVOLUTION,
            "checkpoint": moment.digest,
            "step": moment.step if evolved.has_steps else None,
            "layer": course.layer,
            "dataset": subject.examples.name if subject.examples else None,
            "cka_to_last": 1 - change,
            "params": params,
            "image_path": image,
            "checks": checks,
            "ok": evolved.ok,
            "forwards": evolved.forwards,
            "answer": evolution_sentence(evolved),
        }
        for course in evolved.courses
        for moment, change in zip(evolved.moments, course.changes, strict=True)
    ]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


FORMAT: ResultFormat[Features] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
