"""What the units of a layer answer to inputs: a unit is a channel, a feature or a class."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.models.subject import Subject
from telemetry.explain.names import MOST_NAMES, known

OUTPUT = "output"  # the answer of the whole model
FLAT, SEQUENCE, IMAGE = 2, 3, 4  # dimensions of what layers give
CHANNELS_FIRST = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit of a layer, everywhere or at one place.

    Attributes:
        index: Channel, feature or class.
        position: Row and column; None: the mean over all places.
    """

    index: int
    position: tuple[int, int] | None = None

    @classmethod
    def of(cls, text: str, classes: Sequence[str] = ()) -> Self:
        """The unit of a text such as `7` or `7@3,4`.

        Args:
            text: What the user says.
            classes: Names of the units, where these are classes.

        Raises:
            UsageError: it is none.
        """
        if text in classes:
            return cls(index=classes.index(text))
        match = re.fullmatch(r"(\d+)(?:@(\d+),(\d+))?", text.strip())
        if match is None:
            named = f", or a class: {', '.join(classes[:MOST_NAMES])}" if classes else ""
            raise UsageError(
                f"--unit {text}: write a number, or 7@3,4 for row 3 and column 4{named}."
            )
        index, row, column = match.groups()
        return cls(index=int(index), position=None if row is None else (int(row), int(column)))

    def __str__(self) -> str:
        return str(self.index) + ("" if self.position is None else "@{},{}".format(*self.position))

    def read(self, answers: Tensor) -> Tensor:
        """Its answers, shape (n,), of those of a layer, shape (n, n_units, ...)."""
        own = answers[:, self.index]
        if self.position is not None:
            return own[:, self.position[0], self.position[1]]
        return own.flatten(1).mean(1) if own.dim() > 1 else own


class Layer:
    """A layer that is listened to; see `listening`."""

    def __init__(self, subject: Subject, name: str) -> None:
        self.subject, self.name, self.forwards = subject, name, 0
        self.heard: object = None
        self.module: nn.Module | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Its answers to a batch of inputs.

        Returns:
            Shape (n, n_units), (n, n_units, places) or (n, n_units, height, width).

        Raises:
            UsageError: the layer gives no such tensor, or is not run at all.
        """
        self.heard = None
        output = self.subject.outputs(inputs)
        self.forwards += len(inputs)
        found = self.heard if self.module is not None else output
        answers = units_first(found, self.module, len(inputs))
        if answers is None:
            what = "is not run" if found is None else f"returns a {_said(found)}"
            raise UsageError(
                f"layer {self.name} {what}, expected a tensor of (n, units), (n, places, units) or "
                "(n, units, height, width); name another layer."
            )
        return answers

    def answers(self, examples: Sequence[Example], batch: int) -> Tensor:
        """Its answers to examples, on the host.

        Raises:
            UsageError: see `__call__`; or the examples have several shapes.
        """
        shapes = {tuple(example.input.shape) for example in examples}
        if len(shapes) > 1:
            raise UsageError("the inputs have several shapes; this needs inputs of the same shape.")
        found = []
        with torch.no_grad():
            for start in range(0, len(examples), batch):
                group = examples[start : start + batch]
                found.append(self(torch.stack([e.input for e in group])).float().cpu())
        return torch.cat(found)

    def check(self, units: Sequence[Unit], example: Example) -> int:
        """Refuse units that are not among those of the layer; how many it has.

        Raises:
            UsageError: one is not.
        """
        answers = self.answers([example], 1)
        n_units, *places = answers.shape[1:]
        for unit in units:
            if unit.index >= n_units:
                raise UsageError(
                    f"layer {self.name} has units 0 to {n_units - 1}, no unit {unit.index}."
                )
            if unit.position is None:
                continue
            if len(places) != len(unit.position):
                raise UsageError(f"layer {self.name} has no rows; use unit {unit.index}.")
            if unit.position[0] >= places[0] or unit.position[1] >= places[1]:
                raise UsageError(
                    f"layer {self.name} has {places[0]} rows and {places[1]} columns, "
                    f"no unit {unit}."
                )
        return n_units


@contextmanager
def listening(subject: Subject, name: str) -> Iterator[Layer]:
    """A block in which a layer can be asked; enter it inside `subject.running()`.

    Args:
        subject: The model.
        name: A module, or `output` for the answer of the model.

    Raises:
        UsageError: there is no such layer.
    """
    modules = {path: module for path, module in subject.model.named_modules() if path}
    layer = Layer(subject, name)
    if name == OUTPUT and name not in modules:
        yield layer
        return
    layer.module = modules[known("layer", name, [*modules, OUTPUT])]

    def hear(_module: nn.Module, _inputs: object, output: object) -> None:
        found = main_output(output)
        # A ReLU in place that follows would write into what is heard.
        layer.heard = found.clone() if isinstance(found, Tensor) else found

    handle = layer.module.register_forward_hook(hear)
    try:
        yield layer
    finally:
        handle.remove()


def main_output(output: object) -> object:
    """What a layer gives; of a tuple its first part, as recurrent layers and attention mean it."""
    return output[0] if isinstance(output, tuple) and output else output


def units_first(found: object, module: nn.Module | None, n: int) -> Tensor | None:
    """Answers of a layer with its units in the second dimension; None: they are no such tensor.

    Args:
        found: What it gave for n inputs.
        module: The layer; None: the whole model.
        n: How many.
    """
    if not isinstance(found, Tensor) or found.dim() > IMAGE or found.dim() == 0 or len(found) != n:
        return None
    if found.dim() == 1:
        return found[:, None]
    is_last = found.dim() == SEQUENCE and not isinstance(module, CHANNELS_FIRST)
    return found.movedim(-1, 1) if is_last else found


def spread_examples(examples: ExampleSet, most: int) -> list[Example]:
    """At most so many examples, spread evenly over a data set."""
    picks = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), most)).astype(int))
    return [examples.example(index) for index in picks.tolist()]


def _said(found: object) -> str:
    if isinstance(found, Tensor):
        return f"tensor of shape {tuple(found.shape)}"
    return type(found).__name__
