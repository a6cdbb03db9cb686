"""Follows values that are not finite through the operations of a forward and a backward.

Each one that appears in an operation whose inputs are all finite is a birth; what is computed from
it inherits the birth, and what is finite again has lost it. So an infinity that a mask puts where a
softmax takes it away leads nowhere, and the values at the end name the operation that began it.
Written for one pass over one batch, when something has gone wrong: every operation is looked at,
and an accelerator is waited for.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture.nonfinite.origin import FINITE, Tally, What
from telemetry.capture.tensors.inputs import tensors_in
from telemetry.capture.tensors.plain import plain

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
# Memory that nobody has written yet.
UNWRITTEN = frozenset(
    {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}
)
N_READ_BY_BATCH_NORM = 3  # input, weight, bias; running statistics are written in training


class Schema(Protocol):
    """What torch declares of an operation."""

    name: str
    is_mutable: bool


class Operation(Protocol):
    """An operation that a dispatch mode is given."""

    _schema: Schema

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Birth:
    """Where a value that is not finite appeared.

    Attributes:
        order: Births are compared by it; what was there before the forward comes first.
        what: INPUT, WEIGHT (parameter or buffer), OUTPUT or GRADIENT.
        place: Path of the module that ran; name of the parameter or buffer for a WEIGHT.
        operation: Of torch; None for what was there before.
        tally: Of the tensor.
        by_design: An infinity that the model put there itself, as masks do.
    """

    order: int
    what: What
    place: str
    tally: Tally
    operation: str | None = None
    by_design: bool = False


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, notes the births of what operations return.

    Args:
        place: Tells the module whose forward runs, or whose derivative is computed.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._place = place
        self._births: dict[int, Birth] = {}  # by storage
        self._order = 0

    def planted(self, tensor: Tensor, what: What, place: str) -> None:
        """Something was there before: an input, a buffer."""
        tally = tally_of(tensor)
        key = _key(tensor)
        if tally.is_bad and key is not None:
            is_mask = is_mask_like(tensor) if what is What.INPUT else not tally.n_nan
            self._births[key] = Birth(
                order=-1 if what is What.WEIGHT else -2,
                what=what,
                place=place,
                tally=tally,
                by_design=is_mask,
            )

    def origin_of(self, tensors: Sequence[Tensor]) -> Birth | None:
        """The first birth that led to any of these."""
        found = [
            birth
            for tensor in tensors
            if tally_of(tensor).is_bad and (birth := self._births.get(_key(tensor) or 0))
        ]
        return min(found, key=_rank, default=None)

    def __torch_dispatch__(
        self,
        func: Operation,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operation, and look at what it returned."""
        del types
        result = func(*args, **(kwargs or {}))
        self._look(func, (*args, *(kwargs or {}).values()), result)
        return result

    def _look(self, func: Operation, given: tuple[object, ...], result: object) -> None:
        schema = func._schema  # noqa: SLF001 - no public name
        name = schema.name.rpartition("::")[2]
        read = list(tensors_in(_read_by(name, given)))
        keys = {key for tensor in read if (key := _key(tensor)) is not None}
        for tensor in tensors_in(result):
            key = _key(tensor)
            if key is None or (key in keys and not schema.is_mutable):  # a view of what is known
                continue
            tally = FINITE if name in UNWRITTEN else tally_of(tensor)
            if tally.is_bad:
                self._births[key] = self._birth(name, given, read, tally, written=key)
            elif _covers(tensor):
                self._births.pop(key, None)

    def _birth(
        self,
        name: str,
        given: tuple[object, ...],
        read: Sequence[Tensor],
        tally: Tally,
        *,
        written: int,
    ) -> Birth:
        """What is responsible for the result of an operation."""
        inherited = list(self._inherited(read, written))
        grave = [birth for birth in inherited if not birth.by_design]
        if grave:
            return min(grave, key=_rank)
        if inherited and not tally.n_nan:
            return min(inherited, key=_rank)
        by_design = not tally.n_nan and not inherited and any(map(_is_infinite, _scalars(given)))
        return self._born(name, tally, by_design=by_design)

    def _inherited(self, read: Sequence[Tensor], written: int) -> Iterator[Birth]:
        for tensor in read:
            key = _key(tensor)
            known = None if key is None else self._births.get(key)
            if known is not None and key == written:
                yield known  # written in place: what it held is gone
                continue
            tally = tally_of(tensor)
            if tally.is_bad:
                # A constant that was made before the forward, perhaps for a mask.
                yield known or self._born(None, tally, by_design=not tally.n_nan)

    def _born(self, name: str | None, tally: Tally, *, by_design: bool) -> Birth:
        self._order += 1
        node = current_node()
        return Birth(
            order=self._order,
            what=What.OUTPUT if node is None else What.GRADIENT,
            place=self._place(),
            tally=tally,
            operation=name if node is None else node.name(),
            by_design=by_design,
        )


def tally_of(tensor: Tensor) -> Tally:
    """Counts over all elements; finite for what cannot be read."""
    if tensor.is_nested:
        return FINITE
    values = plain(tensor.detach())
    if values is None or values.dtype not in FLOATS or bool(torch.isfinite(values).all()):
        return FINITE
    return Tally(n_nan=int(values.isnan().sum()), n_inf=int(values.isinf().sum()))


def is_mask_like(tensor: Tensor) -> bool:
    """Zeros and minus infinities: what is added to the logits of an attention."""
    values = tensor.detach()
    return bool(((values == 0) | (values == -math.inf)).all())


def current_node() -> Node | None:
    """Whose derivative is being computed on this thread."""
    return torch._C._current_autograd_node()  # noqa: SLF001 - no public name


def _rank(birth: Birth) -> tuple[bool, int]:
    return birth.by_design, birth.order


def _key(tensor: Tensor) -> int | None:
    """The memory of a tensor, shared with its views; None where it has none of its own."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        return None
    return tensor.untyped_storage().data_ptr() or None


def _covers(tensor: Tensor) -> bool:
    n_bytes = tensor.numel() * tensor.element_size()
    return n_bytes >= tensor.untyped_storage().nbytes()


def _read_by(name: str, given: tuple[object, ...]) -> tuple[object, ...]:
    trains = name.endswith("with_update") or any(value is True for value in given)
    if "batch_norm" in name and trains:
        return given[:N_READ_BY_BATCH_NORM]
    return given


def _scalars(given: tuple[object, ...]) -> Iterator[float]:
    for value in given:
        if isinstance(value, float):
            yield value
        elif isinstance(value, Tensor) and not value.dim() and value.dtype in FLOATS:
            yield float(value)


def _is_infinite(value: float) -> bool:
    return math.isinf(value)
