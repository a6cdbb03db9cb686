"""All that is known of the examples of two sets, as columns that can be compared."""

from collections.abc import Mapping, Sequence

from telemetry.explain.inputs.examples import ExampleSet, Modality
from telemetry.explain.training_gaps.compared_columns import ComparedColumn, Floats

Levels = Sequence[Mapping[str, str]]
LABEL = "label"  # as the column of `example_evals`
METADATA = "m_"  # before a key of the metadata, and before what `evaluate` measures


def compared_columns(
    numbers: tuple[Mapping[str, Floats], Mapping[str, Floats]],
    levels: tuple[Levels, Levels],
    examples: ExampleSet,
) -> list[ComparedColumn]:
    """Columns of numbers, then of categories.

    Args:
        numbers: Attributes of training and test, by name.
        levels: Categories of each training and each test example, by name.
        examples: Of training; tells which attributes `evaluate` stores.
    """
    train, test = numbers
    found = [
        ComparedColumn(
            name=name, train=train[name], test=test[name], column=_stored(name, examples)
        )
        for name in train
    ]
    names = dict.fromkeys(name for row in levels[1] for name in row)
    return found + [
        ComparedColumn.of_texts(
            name,
            [row.get(name) for row in levels[0]],
            [row.get(name) for row in levels[1]],
            name if name == LABEL or name.startswith(METADATA) else f"{METADATA}{name}",
        )
        for name in names
    ]


def _stored(name: str, examples: ExampleSet) -> str | None:
    """The column of `example_evals` that holds the same number; None: there is none."""
    if name.startswith(METADATA):
        return name
    is_stored = examples.modality is not Modality.IMAGE and examples.several is None
    is_table = is_stored and examples.modality is Modality.TABULAR
    return f"{METADATA}{name}" if is_table or (is_stored and name == "length") else None
