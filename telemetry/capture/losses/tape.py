"""Operations between the last layer of a model and the backward pass, as they ran.

The dispatch mode of a sampled forward stays on until the backward pass begins and writes down here
what it sees. Tensors are held, not copied; the tape is cleared before the backward pass runs.

torch looks at how often a tensor is held: the result of `torch.zeros` is handed on as it is where
nobody else has it, else by a `detach` that other modes see, and a backward pass adds up in place
what is its own. So a result is held only once another operation runs, and none of a backward pass.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from telemetry.capture.isolation.torch_state import in_backward

MAX_OPERATIONS = 512  # between forward and backward; a loss of many parts has a hundred
MAX_INSIDE = 128  # after the last layer, within the forward
MAX_BYTES = 1 << 28  # that results on the tape may take together
MAX_OUTPUTS = 32
MAX_TABLES = 4  # inputs of rows and columns that are remembered
N_LAST = 4  # outputs of layers within a forward that are remembered as possible answers

Key: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype]


class Operation(Protocol):
    """An operator overload."""

    _schema: torch.FunctionSchema

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run it."""
        ...


class Recorded(NamedTuple):
    """One operation that ran, a tuple because every operation makes one."""

    operation: Operation
    args: Sequence[object]
    kwargs: Mapping[str, object]
    result: object


class _Newest(NamedTuple):
    """The operation that ran last; nobody may hold its result yet."""

    record: Recorded
    result: weakref.ref[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A tensor that a module returned.

    Attributes:
        path: Of the module.
        place: Which of its tensors.
        tensor: As the training got it, with its graph.
    """

    path: str
    place: int
    tensor: Tensor


class Tape:
    """What one sampled step did between its layers and its loss."""

    def __init__(self) -> None:
        self._outside: list[Recorded] = []
        self._inside: list[Recorded] = []
        self._newest: _Newest | None = None
        self._last: list[Output] = []
        self._outputs: list[Output] = []
        self._tables: list[Tensor] = []
        self._n_bytes = 0
        self._is_inside = False
        self._of_forward: set[int] = set()
        self.is_full = False

    @property
    def records(self) -> list[Recorded]:
        """Operations, oldest first."""
        self._hold_newest()
        return [*self._outside, *self._inside]

    @property
    def outputs(self) -> list[Output]:
        """What the model returned, then what its last layers did."""
        return [*self._outputs, *self._last]

    @property
    def tables(self) -> list[Tensor]:
        """Inputs of the model that are rows of several numbers, oldest first."""
        return list(self._tables)

    def add(
        self,
        operation: Operation,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        result: object,
    ) -> None:
        """An operation has run."""
        if self.is_full or in_backward():
            return
        self._hold_newest()
        if isinstance(result, Tensor):
            self._n_bytes += result.numel() * result.element_size()
            record = Recorded(operation, args, kwargs, None)
            self._newest = _Newest(record, weakref.ref(result))
        else:
            self._hold(Recorded(operation, args, kwargs, result))
        if self._n_bytes > MAX_BYTES:
            self._overflow()

    def _hold_newest(self) -> None:
        newest, self._newest = self._newest, None
        result = None if newest is None else newest.result()
        if newest is not None and result is not None:  # else nothing can read it any more
            self._hold(newest.record._replace(result=result))

    def _hold(self, record: Recorded) -> None:
        held, limit = (
            (self._inside, MAX_INSIDE) if self._is_inside else (self._outside, MAX_OPERATIONS)
        )
        held.append(record)
        if len(held) > limit:
            self._overflow()

    def forward_begins(self) -> None:
        """An outermost forward begins."""
        self._hold_newest()
        self._is_inside = True
        self._inside.clear()

    def given(self, inputs: Iterable[Tensor]) -> None:
        """An outermost forward was given these."""
        for values in inputs:
            is_table = is_plain(values) and values.dim() == 2 and values.is_floating_point()  # noqa: PLR2004 - rows and columns
            if is_table and values.shape[1] > 1 and len(self._tables) < MAX_TABLES:
                self._tables.append(values)

    def layer_left(self, path: str, output: object) -> None:
        """A module with parameters has ended: only what comes after it may be the loss."""
        self._newest = None
        self._inside.clear()
        if not self._outside:
            self._n_bytes = 0
            self.is_full = False
        if isinstance(output, Tensor):
            self._last = [*self._last[1 - N_LAST :], Output(path=path, place=0, tensor=output)]

    def forward_left(self, path: str, outputs: Iterable[Tensor]) -> None:
        """An outermost forward has ended and returned these."""
        self._hold_newest()
        self._is_inside = False
        found = [
            Output(path=path, place=place, tensor=output)
            for place, output in enumerate(outputs)
            if output.dim() and output.is_floating_point()
        ]
        self._outputs = [*self._outputs, *found][:MAX_OUTPUTS]
        self._of_forward.update(map(id, self._inside))
        self._outside.extend(self._inside)
        self._inside.clear()

    def is_of_forward(self, record: Recorded) -> bool:
        """Whether an operation on the tape ran within a forward."""
        return id(record) in self._of_forward

    def clear(self) -> None:
        """Let go of every tensor."""
        self._newest = None
        self._outside.clear()
        self._inside.clear()
        self._of_forward.clear()
        self._last, self._outputs, self._tables = [], [], []
        self._n_bytes, self.is_full, self._is_inside = 0, False, False

    def _overflow(self) -> None:
        """Too much happened: nothing is known of this step's loss."""
        self._newest = None
        self._outside.clear()
        self._inside.clear()
        self.is_full = True


def key_of(tensor: Tensor) -> Key:
    """What tensors have in common that show the same values; all on a tape are alive at once."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def is_plain(value: object) -> bool:
    """A dense tensor of no subclass, whose memory can be named."""
    return (
        type(value) in {Tensor, nn.Parameter}
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_nested
        and value.device.type != "meta"
    )


def tensors_of(value: object) -> list[Tensor]:
    """Tensors of an argument or result, lists entered."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for entry in value for tensor in tensors_of(entry)]
    return []


def name_of(operation: Operation) -> str:
    """Such as `mse_loss`; an in-place one has the name of the other."""
    return operation._schema.name.partition("::")[2].rstrip("_")  # noqa: SLF001 - no public name
