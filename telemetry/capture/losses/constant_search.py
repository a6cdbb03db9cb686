"""The constant answer that makes a replayed loss smallest, by steps that follow signs alone.

Source: Riedmiller and Braun, Rprop, 1993. It needs no scale of the loss and copes with corners.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from telemetry.capture.losses.heads import OF_CLASSES
from telemetry.capture.losses.replay import Answer, Program
from telemetry.capture.losses.tape import name_of

N_ITERATIONS = 60  # of the first fit
N_MORE = 20  # of one that starts from the former constants
GROWTH, SHRINKAGE = 1.2, 0.5
FIRST_STEP = 0.3  # of the usual size of an answer
LATER_STEP = 0.03  # of the same, from the former constants
CHANNELS_FIRST_DIMS = 4  # from here on the second dimension holds the units
OF_PROBABILITIES = frozenset(
    {"binary_cross_entropy", "log", "log1p", "log2", "logit", "nll_loss2d_forward", "xlogy"}
)
DISTANCES = frozenset({"mse_loss", "smooth_l1_loss", "huber_loss"})
SIZES = frozenset({"abs", "linalg_vector_norm", "norm", "pow"})

# Module, which of its outputs, shape of one answer: outputs of several forwards share a constant.
Group: TypeAlias = tuple[str, int, tuple[int, ...]]
Constants: TypeAlias = dict[Group, Tensor]


def finite_value(programs: Sequence[Program], constants: Mapping[Group, Tensor]) -> float | None:
    """Mean loss of the constants over these batches; None where it is not finite."""
    with torch.no_grad():
        value = float(_mean(programs, constants))
    return value if math.isfinite(value) else None


def neutral(program: Program) -> Constants:
    """Zeros: of a softmax equal shares, of a sigmoid one half."""
    return {group_of(each): torch.zeros(answer_units(each)) for each in program.answers}


def neutral_answers(program: Program) -> dict[int, Tensor]:
    """The neutral constant of each answer in its shape, by place."""
    constants = neutral(program)
    return {
        each.number: _spread(each, constants[group_of(each)], program) for each in program.answers
    }


def drawn(program: Program, shift: float) -> Constants:
    """Constants that are no special ones, of the usual size; others for another shift."""
    return {
        group_of(each): torch.cos(1.7 * torch.arange(answer_units(each)) + shift)
        * each.values.detach().abs().mean().clamp(min=1e-6)
        for each in program.answers
    }


def scales(program: Program) -> dict[Group, float]:
    """The usual size of each answer, at least 1."""
    return {
        group_of(each): max(1.0, float(each.values.detach().abs().mean()))
        for each in program.answers
    }


def fit(programs: Sequence[Program], former: Constants) -> Constants:
    """The best constants for some batches of one loss.

    Args:
        programs: On the host, at least one.
        former: Of fewer of them; empty at first.
    """
    newest = programs[-1]
    # What was fitted to few labels may have run off to where it is of no use for more of them.
    starts: list[Constants] = [neutral(newest), _usual(newest), _between(newest)]
    if former:
        starts.append(former)
    valued = [(finite_value(programs, start), start) for start in starts]
    known = [(value, place) for place, (value, _) in enumerate(valued) if value is not None]
    if not known:
        return starts[-1]
    best_value, place = min(known)
    best = valued[place][1]
    goes_on = best is former
    usual = scales(newest)
    first = LATER_STEP if goes_on else FIRST_STEP
    steps = {group: torch.full_like(c, first * usual[group]) for group, c in best.items()}
    signs = {group: torch.zeros_like(c) for group, c in best.items()}
    current = best
    for _ in range(N_MORE if goes_on else N_ITERATIONS):
        value, gradients = _gradients(programs, current)
        if not math.isfinite(value):
            steps = {group: step * SHRINKAGE for group, step in steps.items()}
            signs = {group: torch.zeros_like(step) for group, step in steps.items()}
            _, gradients = _gradients(programs, best)
            current = best
        elif value < best_value:
            best_value, best = value, current
        moved = {}
        for group, constant in current.items():
            sign = gradients[group].nan_to_num(0.0).sign()
            agreed = sign * signs[group]
            steps[group] = steps[group] * torch.where(
                agreed > 0, GROWTH, torch.where(agreed < 0, SHRINKAGE, 1.0)
            )
            signs[group] = torch.where(agreed < 0, 0.0, sign)
            moved[group] = constant - signs[group] * steps[group]
        current = moved
    return best


def strided(values: Tensor, stride: tuple[int, ...]) -> Tensor:
    """The values laid out in memory as the model's output was, so that views of it work."""
    if values.stride() == stride or 0 in stride:
        return values
    return torch.empty_strided(values.shape, stride, dtype=values.dtype).copy_(values)


def group_of(answer: Answer) -> Group:
    """Answers of one group are one constant."""
    return answer.path, answer.place, tuple(answer.values.shape[1:])


def answer_units(answer: Answer) -> int:
    """Numbers of a constant answer."""
    dim = _unit_dim(answer.values.dim())
    return 1 if dim is None else answer.values.shape[dim]


def _unit_dim(n_dims: int) -> int | None:
    if n_dims < 2:  # noqa: PLR2004 - one number an example
        return None
    return 1 if n_dims >= CHANNELS_FIRST_DIMS else n_dims - 1


def _usual(program: Program) -> Constants:
    """The mean of the model's answers, where these are numbers of the whole line."""
    found = neutral(program)
    for each in program.answers:
        if _transform(each, program) is None:
            dim = _unit_dim(each.values.dim())
            others = [d for d in range(each.values.dim()) if d != dim]
            found[group_of(each)] = each.values.mean(others).reshape(-1)
    return found


def _between(program: Program) -> Constants:
    """One half: of bare numbers that the loss takes for probabilities, where others do not count.

    What clamps them to 0 and 1 leaves no gradient outside.
    """
    return {group: torch.full_like(zero, 1 / 2) for group, zero in neutral(program).items()}


def _gradients(programs: Sequence[Program], constants: Constants) -> tuple[float, Constants]:
    with torch.enable_grad():
        leaves = {group: c.detach().clone().requires_grad_() for group, c in constants.items()}
        value = _mean(programs, leaves)
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    gradients = {
        group: torch.zeros_like(leaf) if gradient is None else gradient
        for (group, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    return float(value.detach()), gradients


def _mean(programs: Sequence[Program], constants: Mapping[Group, Tensor]) -> Tensor:
    values = []
    for program in programs:
        answers = {
            each.number: _spread(each, constants[group_of(each)], program)
            for each in program.answers
        }
        values.append(program.evaluate(answers).reshape(()))
    return torch.stack(values).mean()


def _spread(answer: Answer, constant: Tensor, program: Program) -> Tensor:
    """The constant in the shape of the answers of a batch."""
    transform = _transform(answer, program)
    given = constant if transform is None else transform(constant)
    dim = _unit_dim(answer.values.dim())
    shape = [-1 if place == dim else 1 for place in range(answer.values.dim())]
    whole = given.reshape(shape).expand(answer.values.shape).to(answer.values.dtype)
    return strided(whole.contiguous(), answer.stride)


def measures_distance(program: Program) -> bool:
    """A loss that has a meaning for every number, such as a squared error."""
    names = {name_of(each.operation) for each in program.instructions}
    squares = "sub" in names and not names.isdisjoint(SIZES)
    return names.isdisjoint(OF_PROBABILITIES) and (squares or not names.isdisjoint(DISTANCES))


def _transform(answer: Answer, program: Program) -> Callable[[Tensor], Tensor] | None:
    """What keeps an answer in the range of its head, outside of which the loss has no meaning."""
    name = answer.head.name
    if name == "log_softmax":
        return lambda constant: torch.log_softmax(constant, 0)
    if name not in OF_CLASSES | {"sigmoid"} or measures_distance(program):
        return None
    if name == "sigmoid" or answer_units(answer) == 1:
        return torch.sigmoid
    return lambda constant: torch.softmax(constant, 0)
