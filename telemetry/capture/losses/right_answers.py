"""What a loss would be if the model gave the answers that its targets ask for.

Runs on the writer thread, on copies. How an answer is coded is not known: as the target itself, as
its logarithm or as its logit, so that all are tried, and the best counts. A loss that right answers
do not make smaller than no answer has its sign, or its arguments, the wrong way round.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.capture.losses.constant_search import neutral_answers, strided
from telemetry.capture.losses.replay import Meeting, Program
from telemetry.format.loss_operations import DIFFERENCES, INDEXED

SURE = 0.997  # probability of a right answer: a logit of 6
MIN_DIMS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RightAnswers:
    """Losses in which only the answer that meets the target is another one.

    Attributes:
        right: Of the best way to give the right answer.
        blank: Of an answer of zero, or of equal shares.
    """

    right: float
    blank: float


def right_answers(program: Program) -> RightAnswers | None:
    """Both losses; None where it is not known what a right answer is.

    Args:
        program: On the host.
    """
    meeting = program.meeting
    if meeting is None or _has_signed_weights(program, meeting.target):
        return None
    own = {each.number: strided(each.values, each.stride) for each in program.answers}
    asked = _asked(own[meeting.answer], program.constants[meeting.target].float(), meeting)
    if asked is None:
        return None
    blank = _loss(program, own, meeting.answer, neutral_answers(program)[meeting.answer])
    tried = [_loss(program, own, meeting.answer, each) for each in _coded(asked, meeting)]
    known = [value for value in tried if math.isfinite(value)]
    if not known or not math.isfinite(blank):
        return None
    return RightAnswers(right=min(known), blank=blank)


def _has_signed_weights(program: Program, target: int) -> bool:
    """Whether other data are below zero: such as advantages, for which an answer may be wrong."""
    return any(
        values.is_floating_point() and values.numel() > 1 and bool((values < 0).any())
        for place, values in program.constants.items()
        if place != target and place not in program.trained
    )


def _loss(program: Program, own: dict[int, Tensor], answer: int, given: Tensor) -> float:
    """NaN where the loss takes no such answer, as one of probabilities takes no logarithm."""
    values = given.to(own[answer].dtype).contiguous()
    try:
        with torch.no_grad():
            return float(program.evaluate({**own, answer: strided(values, own[answer].stride())}))
    except (RuntimeError, ValueError):
        return math.nan


def _asked(answer: Tensor, target: Tensor, meeting: Meeting) -> Tensor | None:
    """The target in the shape of the answer: for class numbers ones and zeros."""
    if meeting.operation in INDEXED:
        return _one_hot(answer, target)
    if _entries(answer) != _entries(target):
        return None
    is_share = bool(((target >= 0) & (target <= 1)).all())
    return target.reshape(answer.shape) if is_share or meeting.operation in DIFFERENCES else None


def _one_hot(answer: Tensor, target: Tensor) -> Tensor | None:
    if answer.dim() < MIN_DIMS or not target.numel():
        return None
    for dim in (answer.dim() - 1, 1):
        n_classes = answer.shape[dim]
        if answer.numel() != target.numel() * n_classes or target.max() >= n_classes:
            continue
        rest = [size for place, size in enumerate(answer.shape) if place != dim]
        chosen = target.long().clamp(min=0).reshape(rest).unsqueeze(dim)
        return torch.zeros(answer.shape).scatter_(dim, chosen, 1.0)
    return None


def _coded(asked: Tensor, meeting: Meeting) -> Iterator[Tensor]:
    """The ways in which a model may give an answer."""
    if meeting.operation in DIFFERENCES:
        yield asked
    if bool(((asked >= 0) & (asked <= 1)).all()):
        share = asked.clamp(1 - SURE, SURE)
        yield from (share, share.log(), share.logit())


def _entries(values: Tensor) -> list[int]:
    return [size for size in values.shape if size != 1]
