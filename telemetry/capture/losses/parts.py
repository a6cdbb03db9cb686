"""The terms of a summed loss: what of it reads targets, and what does not.

Runs on the writer thread, on the copies of a replay. A mean or a sum is one of each of its terms,
so that sums are followed from the loss through them, down to what is no sum.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from telemetry.capture.losses.replay import Instruction, Place, Program
from telemetry.capture.losses.tape import name_of

PASSING = frozenset({"alias", "clone", "squeeze", "unsqueeze", "view", "_to_copy", "_unsafe_view"})
REDUCING = frozenset({"mean", "sum"})
MAX_DEPTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A loss as a sum of two parts, in its own unit.

    Attributes:
        n_terms: How many terms it has.
        of_targets: Sum of the terms that read targets.
        free: Sum of the others: divergences, penalties.
        penalties: Sum of those of them that read parameters and no output.
        program: What computes the part that reads targets.
    """

    n_terms: int
    of_targets: float
    free: float
    penalties: float
    program: Program


class _Term(NamedTuple):
    """A place whose values, added up and times a factor, are a part of the loss."""

    place: int
    factor: float
    reads_targets: bool
    reads_outputs: bool = True


def parts_of(program: Program) -> Parts | None:
    """The two parts of a loss; None where it has terms of one kind only.

    Where a number of the output is in both, neither is a loss of its own: a likelihood has a
    squared error over a variance, and the logarithm of that variance.

    Args:
        program: On the host.
    """
    own = {each.number: each.values.detach().clone().requires_grad_() for each in program.answers}
    with torch.enable_grad():
        values = program.values(own)
    terms = [t for t in _Sum(program, values).terms(program.root, 1.0, MAX_DEPTH) if t.factor]
    of_targets = [term for term in terms if term.reads_targets]
    free = [term for term in terms if not term.reads_targets]
    if not of_targets or not free or _share_outputs(of_targets, free, values, list(own.values())):
        return None
    return Parts(
        n_terms=len(terms),
        of_targets=_total(of_targets, values),
        free=_total(free, values),
        penalties=_total([term for term in free if not term.reads_outputs], values),
        program=_program(program, of_targets),
    )


def _share_outputs(
    first: Sequence[_Term],
    second: Sequence[_Term],
    values: Mapping[int, Tensor],
    outputs: Sequence[Tensor],
) -> bool:
    """Whether a number of an output moves both."""
    moved = []
    for terms in (first, second):
        total = torch.stack([term.factor * values[term.place].sum() for term in terms]).sum()
        if not total.requires_grad:
            return False
        moved.append(torch.autograd.grad(total, outputs, retain_graph=True, allow_unused=True))
    return any(
        one is not None and other is not None and bool(((one != 0) & (other != 0)).any())
        for one, other in zip(*moved, strict=True)
    )


def _total(terms: Sequence[_Term], values: Mapping[int, Tensor]) -> float:
    return sum(term.factor * float(values[term.place].detach().double().sum()) for term in terms)


class _Sum:
    """A program, read backwards from its result."""

    def __init__(self, program: Program, values: Mapping[int, Tensor]) -> None:
        self._values = values
        # A detached tensor has the place of the one it shows.
        self._makers = {
            number: each
            for each in program.instructions
            for number in each.results
            if name_of(each.operation) != "detach" or number not in _places([*each.args])
        }
        self._outputs = {each.number for each in program.answers}
        self._trained = program.trained | self._outputs
        self._data = {
            number
            for number, constant in program.constants.items()
            if number not in program.trained and _differs(constant)
        }
        self._constants = program.constants

    def terms(self, place: int, factor: float, depth: int) -> list[_Term]:
        """What a place adds up; one entry where all of it is of one kind."""
        read = self._read(place)
        if self._trained.isdisjoint(read):
            return []  # a number, for all that training can do about it
        if self._data.isdisjoint(read):
            reads_outputs = not self._outputs.isdisjoint(read)
            return [_Term(place, factor, reads_targets=False, reads_outputs=reads_outputs)]
        found = [
            term
            for added, share in self._added(place)
            for term in (self.terms(added, factor * share, depth - 1) if depth else ())
        ]
        if all(term.reads_targets for term in found):
            return [_Term(place, factor, reads_targets=True)]
        return found

    def _added(self, place: int) -> Iterator[tuple[int, float]]:
        """Places of which this one is a weighted sum, in the sum over all entries."""
        made = self._makers.get(place)
        if made is None or place in _places([*made.args]):  # it was changed in place
            return
        n = self._values[place].numel()
        for number, weight in _weighted(made, self._constants):
            # Each entry counts once, in a mean a share of that, and as often as it is broadcast.
            is_whole = name_of(made.operation) in {"stack", "sum"}
            share = 1.0 if is_whole else n / self._values[number].numel()
            yield number, weight * share

    def _read(self, place: int) -> set[int]:
        found, waiting = {place}, [place]
        while waiting:
            made = self._makers.get(waiting.pop())
            new = set() if made is None else _places([*made.args, *made.kwargs.values()]) - found
            found |= new
            waiting += new
        return found


def _weighted(made: Instruction, constants: Mapping[int, Tensor]) -> list[tuple[int, float]]:
    """The places that an operation adds up, each with its factor; none where it does not."""
    name = name_of(made.operation)
    first, second = (*made.args[:2], None, None)[:2]
    factors: list[tuple[object, float | None]] = []
    if name in {"add", "sub", "rsub"}:
        alpha = _number(made.kwargs.get("alpha", 1), constants) or 0.0
        signs = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[name]
        factors = [*zip((first, second), signs, strict=True)]
    elif name == "stack" and isinstance(first, list):
        factors = [(each, 1.0) for each in first]
    elif name in PASSING | REDUCING:
        factors = [(first, 1.0)]
    elif name == "neg":
        factors = [(first, -1.0)]
    elif name == "mul":
        factors = [(first, _number(second, constants)), (second, _number(first, constants))]
        factors = [each for each in factors if each[1] is not None][:1]
    elif name == "div":
        factors = [(first, 1 / (_number(second, constants) or math.inf))]
    return [(e.number, factor) for e, factor in factors if isinstance(e, Place) and factor]


def _number(value: object, constants: Mapping[int, Tensor]) -> float | None:
    if isinstance(value, Place):
        tensor = constants.get(value.number)
        return float(tensor) if tensor is not None and tensor.numel() == 1 else None
    return float(value) if isinstance(value, int | float) else None


def _places(value: object) -> set[int]:
    if isinstance(value, Place):
        return {value.number}
    if isinstance(value, list | tuple):
        return {number for entry in value for number in _places(entry)}
    return set()


def _differs(values: Tensor) -> bool:
    return values.numel() > 1 and bool((values != values.reshape(-1)[0]).any())


def _program(program: Program, terms: Sequence[_Term]) -> Program:
    """What computes the sum of some terms."""
    taken = {*program.constants, *(each.number for each in program.answers)}
    taken.update(number for each in program.instructions for number in each.results)
    number = max(taken) + 1
    added: list[Instruction] = []
    total: int | None = None
    for term in terms:
        summed = Instruction(
            operation=torch.ops.aten.sum.default,
            args=[Place(number=term.place)],
            kwargs={},
            results=(number,),
        )
        scaled = Instruction(
            operation=torch.ops.aten.mul.Tensor,
            args=[Place(number=number), term.factor],
            kwargs={},
            results=(number + 1,),
        )
        added += [summed, scaled]
        number += 2
        if total is not None:
            both = [Place(number=total), Place(number=number - 1)]
            added.append(
                Instruction(
                    operation=torch.ops.aten.add.Tensor, args=both, kwargs={}, results=(number,)
                )
            )
            number += 1
        total = number - 1
    return replace(
        program,
        instructions=(*program.instructions, *added),
        root=program.root if total is None else total,
    )
