"""The JSON of a baseline, `schemas/json/baseline.json`: small, readable in a diff, exact."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from telemetry import json_values
from telemetry.compare.curves.align import Series
from telemetry.compare.curves.axes import Clocks
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.curves.thinning import averaged, picked
from telemetry.compare.diff.compared_run import ComparedRun
from telemetry.compare.diff.costs import DATA_S, STEP_S, Cost, RunCosts
from telemetry.compare.diff.layer_changes import LayerCurve, LayerCurves
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.terms import Axis
from telemetry.diagnose.finding import Finding
from telemetry.format.manifest import Status
from telemetry.json_values import Json
from telemetry.store.summaries.trained_parameters import TrainedParameters

FORMAT_NAME = "telemetry-baseline"
SCHEMA_VERSION = 1
MOST_POINTS = 512  # of a curve; the final tenth, of which the final value is read, keeps 25 to 51
MOST_LAYER_POINTS = 16  # of one statistic of one layer, of which the median is compared
MOST_CLOCK_POINTS = 64  # of samples, tokens or time by step, which run evenly or nearly so
LAYER_DIGITS = 3  # of a log2; the noise band is 0.2 at least
LINE_DEPTH = 4  # of nested objects that get a line an entry; what is deeper stays on one line


def run_to_json(member: ComparedRun) -> dict[str, Json]:
    """One entry of `runs`."""
    return {
        "run": member.labels.to_json(),
        "settings": member.settings,
        "curves": {name: _curve(series) for name, series in member.curves.items()},
        "costs": {
            name: {"value": cost.value, "error": cost.error} for name, cost in member.costs.items()
        },
        "layers": [
            {
                "layer": layer,
                "statistic": statistic,
                "floor": curve.floor,
                **_points(_rounded(picked(curve.series, MOST_LAYER_POINTS))),
            }
            for (layer, statistic), curve in member.layers.items()
        ],
        "findings": [finding.to_json() for finding in member.findings],
        "clocks": {
            axis: _points(_whole(picked(clock, MOST_CLOCK_POINTS)))
            for axis, clock in member.clocks.items()
        },
        "trained": member.trained.to_json() if member.trained else None,
    }


def run_from_json(raw: Json) -> tuple[ComparedRun, frozenset[str]]:
    """The run, and which of its metrics are averages.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, AttributeError: not what was written.
    """
    entry = _mapping(raw)
    curves = {
        name: replace(_series(_mapping(curve)), of_batches=name == LOSS)
        for name, curve in _mapping(entry["curves"]).items()
    }
    if not curves or not all(map(len, curves.values())):
        raise ValueError("a run has no curve, or a curve has no point")
    fewer = {
        name
        for name, curve in _mapping(entry["curves"]).items()
        if _mapping(curve)["n"] != len(curves[name])
    }
    member = ComparedRun(
        labels=_labels(_mapping(entry["run"])),
        settings=_mapping(entry["settings"]),
        curves=curves,
        costs=_costs(_mapping(entry["costs"])),
        layers=_layers(entry["layers"]),
        findings=tuple(Finding.from_json(_mapping(one)) for one in _list(entry["findings"])),
        clocks=_clocks(_mapping(entry["clocks"])),
        trained=_trained(entry.get("trained")),
    )
    return member, frozenset(fewer)


def number_lines(value: Json, depth: int = 0) -> str:
    """Strict JSON with a line for every curve, so that `git diff` shows which have changed."""
    if depth < LINE_DEPTH and isinstance(value, Mapping) and value:
        entries = [
            f"{json_values.dumps(str(key))}: {number_lines(item, depth + 1)}"
            for key, item in value.items()
        ]
        return _lines("{", entries, "}", depth)
    if depth < LINE_DEPTH and isinstance(value, list) and value:
        return _lines("[", [number_lines(item, depth + 1) for item in value], "]", depth)
    return json_values.dumps(value)


def _lines(opening: str, entries: Sequence[str], closing: str, depth: int) -> str:
    indent = " " * depth
    body = ",\n".join(f"{indent} {entry}" for entry in entries)
    return f"{opening}\n{body}\n{indent}{closing}"


def _curve(series: Series) -> dict[str, Json]:
    return {"n": len(series), **_points(averaged(series, MOST_POINTS))}


def _points(series: Series) -> dict[str, Json]:
    return {"steps": series.steps.tolist(), "values": series.values.tolist()}


def _rounded(series: Series) -> Series:
    return Series(steps=series.steps, values=np.round(series.values, LAYER_DIGITS))


def _whole(clock: Series) -> Series:
    return Series(steps=clock.steps, values=np.round(clock.values))


def _clocks(raw: Mapping[str, Json]) -> Clocks:
    clocks = {Axis(name): _series(_mapping(clock)) for name, clock in raw.items()}
    if any(not len(clock) or np.any(np.diff(clock.values) < 0) for clock in clocks.values()):
        raise ValueError("a clock is empty or runs backwards")
    return clocks


def _series(raw: Mapping[str, Json]) -> Series:
    steps, values = _list(raw["steps"]), _list(raw["values"])
    if not all(type(step) is int for step in steps):
        raise TypeError("a step is not an integer")
    read = Series(
        steps=np.array(steps, dtype=np.int64),
        values=np.array([_number(value) for value in values], dtype=np.float64),
    )
    if read.steps.size != read.values.size or np.any(np.diff(read.steps) <= 0):
        raise ValueError("steps do not increase, or there are not as many steps as values")
    return read


def _number(raw: Json) -> float:
    """A number, or one of the texts that stand for what JSON lacks."""
    if raw in {"nan", "inf", "-inf"} or (
        isinstance(raw, int | float) and not isinstance(raw, bool)
    ):
        return float(raw)
    raise TypeError(f"{raw!r} is not a number")


def _layers(raw: Json) -> LayerCurves:
    entries = [_mapping(entry) for entry in _list(raw)]
    return {
        (_text(entry["layer"]), _text(entry["statistic"])): LayerCurve(
            series=_series(entry), floor=_number(entry["floor"])
        )
        for entry in entries
    }


def _trained(raw: Json) -> TrainedParameters | None:
    return None if raw is None else TrainedParameters.from_json(_mapping(raw))


def _costs(raw: Mapping[str, Json]) -> RunCosts:
    entries = {name: _mapping(entry) for name, entry in raw.items()}
    costs = {
        name: Cost(value=_number(entry["value"]), error=_number(entry["error"]))
        for name, entry in entries.items()
    }
    if costs and STEP_S not in costs:
        raise ValueError(f"costs without {STEP_S}")
    if any(cost.value < 0 or (cost.value == 0 and name != DATA_S) for name, cost in costs.items()):
        raise ValueError("a cost is not above zero")
    return costs


def _labels(raw: Mapping[str, Json]) -> RunLabels:
    steps = raw["steps"]
    if not isinstance(steps, int):
        raise TypeError("the number of steps is not an integer")
    return RunLabels(
        run=_text(raw["run"]),
        project=_text(raw["project"]),
        name=_text(raw["name"]),
        status=Status(_text(raw["status"])),
        started=_text(raw["started"]),
        steps=steps,
        config=_mapping(raw["config"]),
        tags=tuple(_text(tag) for tag in _list(raw["tags"])),
        metrics=_mapping(raw["metrics"]),
    )


def _text(raw: Json) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"found a {type(raw).__name__}, expected a text")
    return raw


def _list(raw: Json) -> list[Json]:
    if not isinstance(raw, list):
        raise TypeError(f"found a {type(raw).__name__}, expected a list")
    return raw


def _mapping(raw: Json) -> Mapping[str, Json]:
    if not isinstance(raw, Mapping):
        raise TypeError(f"found a {type(raw).__name__}, expected an object")
    return raw
