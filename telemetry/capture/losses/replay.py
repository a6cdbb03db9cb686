"""The function of a loss, run again on the host with other answers of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.capture.losses.heads import Head, head_of
from telemetry.capture.losses.pairs import Pair
from telemetry.capture.losses.slicing import Slice, UnknownLossError
from telemetry.capture.losses.tape import Key, Operation, Recorded, key_of, name_of, tensors_of

MAX_ELEMENTS = 1 << 20  # of copies that one replay needs
TOO_LARGE = "the tensors that the loss reads are too large to be kept"
RANDOM = "the loss draws random numbers"
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tensor among the values of a replay."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instruction:
    """An operation, the places of what it reads, and where its results go."""

    operation: Operation
    args: Sequence[object]
    kwargs: Mapping[str, object]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """An output of the model as the loss read it: a copy.

    Attributes:
        number: Its place.
        path: Of the module that returned it.
        place: Which of the module's tensors.
        head: The last operation of the model.
        values: Copy.
        stride: Of the original, which views of it rely on.
    """

    number: int
    path: str
    place: int
    head: Head
    values: Tensor
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Where an answer, as the model returned it, meets the target that it shall be like.

    Attributes:
        answer: Place of the answer.
        target: Place of the target.
        operation: In which they meet.
    """

    answer: int
    target: int
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A loss as a function of the answers of a model; its tensors are nobody else's.

    Attributes:
        instructions: In their order.
        answers: What the model returned.
        constants: What else is read, by place.
        root: Place of the loss.
        trained: Places of constants that have a gradient: parameters, and what is made of them.
        meeting: The first answer that meets a target; None where the loss changes it before.
    """

    instructions: tuple[Instruction, ...]
    answers: tuple[Answer, ...]
    constants: dict[int, Tensor]
    root: int
    trained: frozenset[int] = frozenset()
    meeting: Meeting | None = None

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for the same loss of other batches."""
        operations = tuple(name_of(each.operation) for each in self.instructions)
        return operations, tuple(
            (answer.path, answer.place, answer.values.shape[1:]) for answer in self.answers
        )

    @property
    def n_elements(self) -> int:
        """Of all copies."""
        copies = [answer.values for answer in self.answers] + list(self.constants.values())
        return sum(copy.numel() for copy in copies)

    def on_host(self) -> "Program":
        """The same with its tensors on the host, no float narrower than 32 bits; may wait."""
        return Program(
            instructions=self.instructions,
            answers=tuple(
                Answer(
                    number=each.number,
                    path=each.path,
                    place=each.place,
                    head=each.head,
                    values=_host(each.values),
                    stride=each.stride,
                )
                for each in self.answers
            ),
            constants={number: _host(values) for number, values in self.constants.items()},
            root=self.root,
            trained=self.trained,
            meeting=self.meeting,
        )

    def evaluate(self, answers: Mapping[int, Tensor]) -> Tensor:
        """The loss of these answers, by place, each of the shape of the model's own."""
        return self.values(answers)[self.root]

    def values(self, answers: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """All that is computed on the way to the loss of these answers, by place."""
        values = {**self.constants, **answers}
        for each in self.instructions:
            args = [_filled(value, values) for value in each.args]
            kwargs = {name: _filled(value, values) for name, value in each.kwargs.items()}
            results = tensors_of(_run(each.operation, args, kwargs))
            values.update(zip(each.results, results, strict=True))
        return values


def program_of(found: Slice, pairs: Sequence[Pair] = ()) -> Program:
    """Copies of what the loss reads, and how it is computed from them.

    Args:
        found: The loss.
        pairs: Of it; the first says what its target is.

    Raises:
        UnknownLossError: it is random, or too large.
    """
    tensors = [output.tensor for output in found.outputs.values()]
    if sum(tensor.numel() for tensor in [*tensors, *found.sources.values()]) > MAX_ELEMENTS:
        raise UnknownLossError(TOO_LARGE)
    if any(_is_random(link.record.operation) for link in found.links):
        raise UnknownLossError(RANDOM)
    numbers: dict[Key, int] = {}
    answers = tuple(
        Answer(
            number=numbers.setdefault(key, len(numbers)),
            path=output.path,
            place=output.place,
            head=head_of(output.tensor),
            values=output.tensor.detach().clone(),
            stride=output.tensor.stride(),
        )
        for key, output in found.outputs.items()
    )
    constants = {
        numbers.setdefault(key, len(numbers)): tensor.detach().clone()
        for key, tensor in found.sources.items()
    }
    instructions = tuple(_instruction(link.record, numbers) for link in found.links)
    root = numbers[key_of(found.root)]
    trained = {numbers[key] for key, tensor in found.sources.items() if tensor.requires_grad}
    return Program(
        instructions=instructions,
        answers=answers,
        constants=constants,
        root=root,
        trained=frozenset(trained),
        meeting=_meeting(pairs[0], numbers) if pairs else None,
    )


def _meeting(pair: Pair, numbers: Mapping[Key, int]) -> Meeting | None:
    answer, target = numbers.get(key_of(pair.output)), numbers.get(key_of(pair.target))
    is_changed = not pair.is_output or pair.is_made or pair.is_broadcast or pair.misaligned
    if answer is None or target is None or is_changed:
        return None
    return Meeting(answer=answer, target=target, operation=pair.operation)


def _instruction(record: Recorded, numbers: dict[Key, int]) -> Instruction:
    args = [_template(value, numbers) for value in record.args]
    kwargs = {name: _template(value, numbers) for name, value in record.kwargs.items()}
    results = tuple(
        numbers.setdefault(key_of(result), len(numbers)) for result in tensors_of(record.result)
    )
    return Instruction(operation=record.operation, args=args, kwargs=kwargs, results=results)


def _template(value: object, numbers: Mapping[Key, int]) -> object:
    if isinstance(value, Tensor):
        return Place(number=numbers[key_of(value)])
    if isinstance(value, list | tuple):
        return [_template(entry, numbers) for entry in value]
    return value


def _filled(value: object, values: Mapping[int, Tensor]) -> object:
    if isinstance(value, Place):
        return values[value.number]
    if isinstance(value, list):
        return [_filled(entry, values) for entry in value]
    if isinstance(value, torch.dtype) and value in HALF:
        return torch.float32
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _run(operation: Operation, args: list[object], kwargs: dict[str, object]) -> object:
    name = name_of(operation)
    first = args[0] if args else None
    if isinstance(first, Tensor):
        if name == "detach":  # the constant is looked for through it
            return first.view_as(first)
        if operation._schema.is_mutable:  # noqa: SLF001 - no public name
            args[0] = first.clone()
    if name in {"_softmax", "_log_softmax"}:
        args[2:] = [False]  # a conversion from half precision, which only CUDA fuses
    return operation(*args, **kwargs)


def _is_random(operation: Operation) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def _host(values: Tensor) -> Tensor:
    host = values.cpu()  # on the writer thread
    return host.float() if host.dtype in HALF else host
