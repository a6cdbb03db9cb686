"""What each example says of itself in columns: those of a table, and what images and texts measure.

A column has the value that people know: before normalisation, and a category for a one-hot code.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.attributes import (
    RARE_WORDS,
    SCRIPT,
    image_values,
    text_script,
    text_values,
)
from telemetry.explain.inputs.examples import (
    IMAGE_DIMENSIONS,
    ROUNDING,
    Example,
    ExampleSet,
    Modality,
)
from telemetry.explain.inputs.segments import Segments
from telemetry.explain.inputs.stated import stated
from telemetry.explain.inputs.surveys import sizes_differ, words_of

Value = float | str

DIGITS = 7  # that float32 can tell apart
IMAGE_COLUMNS = ("brightness", "contrast", "sharpness", "saturation", "hue")
SIZE_COLUMNS = ("height", "width")
UNITS = "units"  # of the data set: {column: unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a part of a row is, and what it was compared with.

    Attributes:
        value: Of the explained row; a category by its name.
        unit: As the data set states it.
        reference: Mean over the references; of a category the most frequent one.
    """

    value: Value
    unit: str | None
    reference: Value | None


def is_table(examples: ExampleSet) -> bool:
    """Whether inputs are rows of columns."""
    is_row = examples.modality is Modality.TABULAR and examples.several is None
    return is_row and examples.example(0).input.dim() == 1


def column_values(row: Tensor, examples: ExampleSet) -> dict[str, Value]:
    """The columns of a row by name; a one-hot code is one column."""
    plain = [_rounded(value) for value in examples.plain(row.double()).tolist()]
    names = examples.element_names(row)
    coded = {place for places in examples.categorical.values() for place in places}
    found: dict[str, Value] = {
        group: _category(plain, places, names) for group, places in examples.categorical.items()
    }
    single = {name: plain[place] for place, name in enumerate(names) if place not in coded}
    return found | single


def measured_columns(example: Example, examples: ExampleSet) -> dict[str, Value]:
    """What groups of examples can be made of without being told: columns, brightness, length.

    Images whose range of values is neither stated nor 0 to 1 have no saturation and no hue.
    """
    if is_table(examples):
        return column_values(example.input, examples)
    if examples.modality is Modality.TEXT:
        return _text_columns(example.input, examples)
    if examples.modality is not Modality.IMAGE or example.input.dim() != IMAGE_DIMENSIONS:
        return {}
    unit = examples.plain(example.input.double())
    if examples.stated_range is not None:
        low, high = examples.stated_range
        unit = (unit - low) / (high - low)
    is_unit = float(unit.min()) >= -ROUNDING and float(unit.max()) <= 1 + ROUNDING
    wanted = IMAGE_COLUMNS if is_unit else IMAGE_COLUMNS[:2]
    if sizes_differ(examples):
        wanted = (*wanted, *SIZE_COLUMNS)
    found = image_values(unit)
    return {
        name: _rounded(found[name]) for name in wanted if math.isfinite(found.get(name, math.nan))
    }


def _text_columns(row: Tensor, examples: ExampleSet) -> dict[str, Value]:
    """Length, share of rare words among the data set's own, and script."""
    values = text_values(row, examples, words_of(examples), inside=1)
    found: dict[str, Value] = {
        name: _rounded(values[name])
        for name in ("length", RARE_WORDS)
        if math.isfinite(values[name])
    }
    script = text_script(row, examples)
    return found if script is None else {**found, SCRIPT: script}


def categories_of(example: Example, examples: ExampleSet) -> dict[str, str]:
    """The columns of an example that are no numbers: one-hot codes of a table, script of a text."""
    if examples.modality is Modality.TEXT:
        script = text_script(example.input, examples)
        return {} if script is None else {SCRIPT: script}
    if not examples.categorical or not is_table(examples):
        return {}
    found = column_values(example.input, examples)
    return {name: str(found[name]) for name in examples.categorical}


def given_columns(
    row: Tensor, references: Sequence[Tensor], segments: Segments, examples: ExampleSet
) -> tuple[Given, ...]:
    """What each part of a row of a table is; empty for other inputs."""
    if not is_table(examples) or segments.how != "feature":
        return ()
    units = _units(examples)
    own = column_values(row, examples)
    others = [column_values(reference, examples) for reference in references]
    return tuple(
        Given(
            value=own[name],
            unit=units.get(name),
            reference=_usual([other[name] for other in others]),
        )
        for name in segments.names
    )


def _units(examples: ExampleSet) -> Mapping[str, str]:
    """Units of columns, by name.

    Raises:
        UsageError: the data set states something else, or names no column.
    """
    units = stated(examples.source, UNITS)
    if units is None:
        return {}
    if not isinstance(units, Mapping):
        raise UsageError(
            f"data set {examples.name}: {UNITS} is not a dictionary of {{column: unit}}."
        )
    known = {*examples.element_names(examples.example(0).input), *examples.categorical}
    unknown = sorted(str(name) for name in units if name not in known)
    if unknown:
        raise UsageError(
            f"data set {examples.name}: {UNITS} names {unknown[0]!r}, which is not a column."
        )
    return {str(name): str(unit) for name, unit in units.items()}


def _category(plain: Sequence[float], places: Sequence[int], names: Sequence[str]) -> Value:
    """The column of a one-hot code that is 1; all values of what is none."""
    values = [plain[place] for place in places]
    if values.count(1.0) == 1 and values.count(0.0) == len(values) - 1:
        return names[places[values.index(1.0)]]
    return ", ".join(f"{value:g}" for value in values)


def _usual(values: Sequence[Value]) -> Value | None:
    """The mean of numbers, or the most frequent category."""
    if not values:
        return None
    if any(isinstance(value, str) for value in values):
        return Counter(values).most_common(1)[0][0]
    numbers = cast("Sequence[float]", values)
    return _rounded(math.fsum(numbers) / len(numbers))


def _rounded(value: float) -> float:
    """Without what the last digits of a normalisation add."""
    return float(f"{value:.{DIGITS}g}")
