"""How the outputs of a model are read, decided on its first examples and never on one alone."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.models.last_operation import ends_in_sigmoid
from telemetry.explain.models.reading import Reading

READ_EXAMPLES = 32
REPEATED = 8  # examples
REPEATS = 1e-3  # difference that parallel sums in half precision may make

Outputs = Callable[[Tensor], Tensor]  # inputs of one shape (n, ...) to (n, n_classes) or (n,)


def read_outputs(outputs: Outputs, examples: ExampleSet, limit: int | None = None) -> Reading:
    """The reading that fits the first 32 examples; the model runs on each.

    Args:
        outputs: The model; call this inside `subject.running()`.
        examples: Its data set.
        limit: Of the examples that may be read.

    Raises:
        UsageError: the model cannot be run on them, or names other classes.
    """
    group = list(examples.examples(min(limit or READ_EXAMPLES, READ_EXAMPLES)))
    inputs = [example.input for example in group]
    first, *others = places_of_one_shape(inputs, READ_EXAMPLES)
    found: list[Tensor] = []

    def run(places: Sequence[int]) -> Tensor:
        found.append(outputs(torch.stack([inputs[place] for place in places])).detach().cpu())
        return found[-1]

    is_sigmoid = ends_in_sigmoid(lambda: run(first))
    for places in others:
        run(places)
    return Reading.of(torch.cat(found), group, examples, is_sigmoid=is_sigmoid)


def differs_when_asked_again(
    outputs: Outputs, examples: ExampleSet, limit: int | None = None
) -> bool:
    """Whether the first examples are answered otherwise the second time.

    Something in the model is random, such as `functional.dropout`, which needs to be told that it
    is not training.
    """
    n_asked = min(limit or REPEATED, REPEATED)
    inputs = [example.input for example in examples.examples(n_asked)]
    places = next(places_of_one_shape(inputs, n_asked))
    batch = torch.stack([inputs[place] for place in places])
    first, again = (outputs(batch).detach().double().cpu() for _ in range(2))
    return not torch.allclose(first, again, rtol=REPEATS, atol=REPEATS, equal_nan=True)


def places_of_one_shape(inputs: Sequence[Tensor], most: int) -> Iterator[list[int]]:
    """Places of inputs that one batch can hold, at most so many; nothing is filled up.

    A model that sees padding may answer otherwise than to the input alone.
    """
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, values in enumerate(inputs):
        shapes.setdefault(tuple(values.shape), []).append(place)
    for places in shapes.values():
        for start in range(0, len(places), most):
            yield places[start : start + most]
