"""`log_examples`: answers to single examples on their way from an evaluation to `example_evals`."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import torch
from torch import Tensor

from telemetry import json_values
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.packet import host_table
from telemetry.capture.run.recording import Recording
from telemetry.capture.tensors.host import Readiness
from telemetry.capture.tensors.predictions import (
    ID_CHARACTERS,
    MATRIX,
    ClassAnswers,
    NumberAnswers,
    class_answers,
    input_digest,
    look_like_probabilities,
    look_like_sigmoids,
    metadata_text,
    number_answers,
)

TABLE = "example_evals"
ROW_BYTES = 200  # of an example's names and metadata


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleBatch:
    """What `TelemetryCallback.log_examples` was given, unchecked."""

    outputs: Tensor
    labels: Tensor | Sequence[int | float] | None
    dataset: str
    ids: Sequence[str] | None
    inputs: Tensor | None
    classes: tuple[str, ...]
    metadata: Sequence[Mapping[str, object]] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamplePacket:
    """Copies of outputs and labels, and the names of their examples; a `Packet`.

    `first` is the place of the first example among those that were logged at this step; `numeric`
    are the data sets known to have numbers as answers, on the writer thread; `loss` is what the
    training was last seen to minimise.
    """

    batch: ExampleBatch
    step: int
    run: str
    attempt: int
    first: int
    numeric: set[str]
    loss: str | None
    written_at: datetime
    ready: Readiness

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        held = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(self.batch))
        return held + ROW_BYTES * len(self.batch.outputs)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """One row an example; waits for the device."""
        self.ready.wait()
        batch = self.batch
        columns = self._answers().columns(batch.classes)
        identity = f"{self.run} {self.attempt} {self.step} {batch.dataset}"
        common: dict[str, object] = {
            "eval_id": hashlib.sha256(identity.encode()).hexdigest()[:ID_CHARACTERS],
            "step": self.step,
            "checkpoint": f"live:{self.step}",
            "dataset": batch.dataset,
            "hypothesis": "",
            "written_at": self.written_at,
        }
        digests = self._digests()
        names = list(map(str, batch.ids)) if batch.ids is not None else digests
        records = [
            {
                **common,
                "example_id": names[place] or str(self.first + place),
                "input_digest": digests[place],
                "metadata": self._metadata(place),
                **{name: values[place] for name, values in columns.items()},
            }
            for place in range(len(batch.outputs))
        ]
        if records:
            yield TABLE, host_table(TABLE, records)

    def _answers(self) -> ClassAnswers | NumberAnswers:
        """Classes where there are several outputs or all labels are 0 and 1, else numbers.

        A batch of a regression may hold nothing but zeros and ones, so that what one batch says of
        numbers holds for those after it.
        """
        outputs, labels = self.batch.outputs.cpu(), self.batch.labels
        known = None if labels is None else torch.as_tensor(labels).cpu()
        if outputs.dim() == MATRIX:
            are_probabilities = look_like_probabilities(outputs)
            return class_answers(outputs, known, are_probabilities=are_probabilities)
        if known is not None and not bool(((known == 0) | (known == 1)).all()):
            self.numeric.add(self.batch.dataset)
        if known is not None and self.batch.dataset not in self.numeric:
            are_probabilities = look_like_sigmoids(outputs, self.loss)
            return class_answers(outputs, known, are_probabilities=are_probabilities)
        targets = torch.full_like(outputs, float("nan")) if known is None else known
        return number_answers(outputs, targets)

    def _digests(self) -> list[str]:
        """Of the inputs; empty texts where they were not given."""
        if self.batch.inputs is None:
            return [""] * len(self.batch.outputs)
        return [input_digest(values) for values in self.batch.inputs.cpu()]

    def _metadata(self, place: int) -> str:
        given = self.batch.metadata[place] if self.batch.metadata is not None else {}
        return json_values.dumps({str(k): metadata_text(value) for k, value in given.items()})


class ExampleLog:
    """Takes batches of an evaluation to the writer; keeps count of what a step has seen."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._guard: Guard | None = None
        self._seen: Counter[str] = Counter()
        self._numeric: set[str] = set()
        self._step = -1

    def log(self, recording: Recording, batch: ExampleBatch) -> None:
        """Queue a batch for the writer thread, without waiting for its device."""
        if self._guard is None:
            self._guard = Guard(
                strict=self._strict, on_failure=lambda part, error: _tell(recording, part, error)
            )
        if not self._guard.enabled("examples"):
            return
        with self._guard("examples"), undispatched(), torch.no_grad():
            self._put(recording, batch)

    def _put(self, recording: Recording, batch: ExampleBatch) -> None:
        step = max(recording.reached.step - 1, 0)
        if step != self._step:
            self._step = step
            self._seen.clear()
        kept = _kept(batch)
        writer = recording.writer
        packet = ExamplePacket(
            batch=kept,
            step=step,
            run=writer.ref.run,
            attempt=writer.claim.attempt,
            first=self._seen[kept.dataset],
            numeric=self._numeric,
            loss=recording.modules.loss_op,
            written_at=datetime.now(UTC).replace(tzinfo=None),
            ready=Readiness({tensor.device for tensor in _tensors(kept)}),
        )
        self._seen[kept.dataset] += len(kept.outputs)
        writer.put(packet)


def _kept(batch: ExampleBatch) -> ExampleBatch:
    """The batch checked, its tensors copied: the loop may write into them.

    Raises:
        TypeError: outputs are no tensor.
        ValueError: shapes or lengths do not belong together.
    """
    if not isinstance(batch.outputs, Tensor):
        raise TypeError(f"outputs is a {type(batch.outputs).__name__}, expected a tensor")
    outputs = batch.outputs.detach()
    if outputs.dim() == MATRIX and outputs.shape[1] == 1:
        outputs = outputs[:, 0]
    n = len(outputs) if outputs.dim() else 0
    if outputs.dim() not in {1, MATRIX}:
        raise ValueError(f"outputs has shape {tuple(outputs.shape)}, expected (n, classes) or (n,)")
    labels = None if batch.labels is None else torch.as_tensor(batch.labels).detach().reshape(-1)
    for name, given in (
        ("labels", labels),
        ("ids", batch.ids),
        ("inputs", batch.inputs),
        ("metadata", batch.metadata),
    ):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} are {len(given)}, the outputs {n}")
    return ExampleBatch(
        outputs=outputs.clone(),
        labels=None if labels is None else labels.clone(),
        dataset=batch.dataset,
        ids=batch.ids,
        inputs=None if batch.inputs is None else batch.inputs.detach().clone(),
        classes=batch.classes,
        metadata=batch.metadata,
    )


def _tensors(batch: ExampleBatch) -> Iterator[Tensor]:
    for value in (batch.outputs, batch.labels, batch.inputs):
        if isinstance(value, Tensor):
            yield value


def _tell(recording: Recording, part: str, error: Exception) -> None:
    recording.emit(Event.switched_off(part, error))
