"""Runs every example through the model: one row each for `example_evals`."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import torch

from telemetry import json_values
from telemetry.capture.tensors.predictions import ID_CHARACTERS, metadata_text
from telemetry.errors import UsageError
from telemetry.explain.inputs.columns import DIGITS, Value, measured_columns
from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.outputs_reading import (
    differs_when_asked_again,
    places_of_one_shape,
    read_outputs,
)
from telemetry.explain.models.reading import Reading
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.store.results import append_once

DEFAULT_BATCH = 64
WINDOW = 8  # batches that are read together, so that inputs of one shape find each other
SOURCE = "source_id"  # of the metadata: variants of one original are no independent examples
CONFIDENT = 0.9  # probability from which a wrong answer counts as confident

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """One pass over a data set.

    Attributes:
        id: Equal for the same weights on the same examples.
        dataset: Name of the data set.
        checkpoint: Which weights; see `Subject.identity`.
        step: Their training step; None where that is not known.
        rows: Of `example_evals`, in the order of the data set.
        are_probabilities: Whether the model gave probabilities, and not logits.
        is_random: Whether it answers otherwise when asked again.
    """

    id: str
    dataset: str
    checkpoint: str
    step: int | None
    rows: tuple[Row, ...]
    are_probabilities: bool
    is_random: bool = False

    def under(self, hypothesis: str, rule: str = "") -> "Evaluation":
        """The same answers as those of a hypothesis, right or wrong by a rule of its own."""
        asked = f"{self.id} {hypothesis} {rule}".strip()
        identity = hashlib.sha256(asked.encode()).hexdigest()[:ID_CHARACTERS]
        rows = tuple({**row, "eval_id": identity, "hypothesis": hypothesis} for row in self.rows)
        return replace(self, id=identity, rows=rows)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None for a regression."""
        known = [row["correct"] for row in self.rows if row.get("correct") is not None]
        return sum(map(bool, known)) / len(known) if known else None

    @property
    def loss(self) -> float | None:
        """Mean loss: cross-entropy in nats, or squared error; NaN if one is not finite."""
        losses = [_number(row, "loss") for row in self.rows]
        return math.fsum(losses) / len(losses) if losses else None

    @property
    def n_not_finite(self) -> int:
        """Answers that are no finite number."""
        return sum(
            row.get("prediction") is None and not math.isfinite(_number(row, "predicted_value"))
            for row in self.rows
        )

    def confident_errors(self) -> list[Row]:
        """Wrong answers with a probability of 0.9 at least, the surest first."""
        wrong = [row for row in self.rows if row.get("correct") is False]
        sure = [row for row in wrong if _number(row, "confidence") >= CONFIDENT]
        return sorted(sure, key=lambda row: -_number(row, "confidence"))

    def worst(self, n: int) -> list[Row]:
        """The examples of the largest loss, NaN before all."""
        order = sorted(
            self.rows, key=lambda row: (not math.isnan(_number(row, "loss")), -_number(row, "loss"))
        )
        return order[:n]


def evaluate(
    subject: Subject,
    *,
    batch: int = DEFAULT_BATCH,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Answers, losses and confidences of a model on its data set; one forward pass an example.

    Args:
        subject: Model and examples.
        batch: Examples a forward.
        limit: The first so many examples only.
        progress: Told how many examples are done, of how many.

    Raises:
        UsageError: no data set, or labels and outputs do not belong together.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}, expected a number of examples of at least 1.")
    examples = examples_of(subject)
    n_all = len(examples) if limit is None else min(limit, len(examples))
    rows: list[Row] = []
    with subject.running():
        reading = read_outputs(subject.outputs, examples, limit)
        is_random = differs_when_asked_again(subject.outputs, examples, limit)
        for window in _groups(examples.examples(limit), batch * WINDOW):
            for row in _answered(subject, reading, window, batch):
                rows.append(row)
                if progress is not None and (len(rows) % batch == 0 or len(rows) == n_all):
                    progress(len(rows), n_all)
    checkpoint = subject.identity
    moment = datetime.now(UTC).replace(tzinfo=None)
    common: Row = {
        "eval_id": _identity(checkpoint, examples.name, rows),
        "step": subject.step,
        "checkpoint": checkpoint,
        "dataset": examples.name,
        "hypothesis": "",
        "written_at": moment,
    }
    return Evaluation(
        id=str(common["eval_id"]),
        dataset=examples.name,
        checkpoint=checkpoint,
        step=subject.step,
        rows=tuple({**common, **row} for row in rows),
        are_probabilities=reading.are_probabilities,
        is_random=is_random,
    )


def _answered(
    subject: Subject, reading: Reading, window: Sequence[Example], batch: int
) -> list[Row]:
    """Rows of some examples, in their order; those of one shape share forwards."""
    found: dict[int, Row] = {}
    for places in places_of_one_shape([example.input for example in window], batch):
        group = [window[place] for place in places]
        output = subject.outputs(torch.stack([example.input for example in group]))
        columns = reading.answers(output, group).columns(reading.classes)
        measured = [measured_columns(example, examples_of(subject)) for example in group]
        found |= zip(places, _rows(group, measured, columns), strict=True)
    return [found[place] for place in range(len(window))]


def _groups(examples: Iterator[Example], size: int) -> Iterator[list[Example]]:
    while group := list(islice(examples, size)):
        yield group


def _rows(
    group: Sequence[Example],
    measured: Sequence[Mapping[str, Value]],
    columns: dict[str, list[object]],
) -> list[Row]:
    return [
        {
            "example_id": example.id,
            "input_digest": example.digest,
            "source_id": _source(example),
            "metadata": json_values.dumps(_metadata(example, measured[place])),
            **{name: values[place] for name, values in columns.items()},
        }
        for place, example in enumerate(group)
    ]


def _metadata(example: Example, measured: Mapping[str, Value]) -> dict[str, Json]:
    """What the data set says of an example, then what its input says; the first one counts."""
    said = {key: metadata_text(v) for key, v in example.metadata.items() if key != SOURCE}
    own = {
        name: value if isinstance(value, str) else f"{value:.{DIGITS}g}"
        for name, value in measured.items()
    }
    return {**said, **{name: value for name, value in own.items() if name not in said}}


def _source(example: Example) -> str | None:
    """The original of which the data set says that the example is a variant."""
    source = example.metadata.get(SOURCE)
    return None if source is None else metadata_text(source)


def _identity(checkpoint: str, dataset: str, rows: Sequence[Row]) -> str:
    """Of the weights and of what they were asked; the same question twice is one evaluation."""
    sha = hashlib.sha256(f"{checkpoint}\n{dataset}\n".encode())
    for row in rows:
        sha.update(f"{row['example_id']} {row['input_digest']} {row.get('label')}\n".encode())
    return sha.hexdigest()[:ID_CHARACTERS]


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def write_evaluation(run: Path, evaluation: Evaluation) -> bool:
    """Keep an evaluation in a run; False when the run has it already.

    Args:
        run: The run folder.
        evaluation: Of one checkpoint on one data set.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    return append_once(run, "example_evals", evaluation.rows, identity="eval_id")
