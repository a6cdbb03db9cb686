"""In which unit a loss is recorded: the factor from a function's mean to the recorded number.

A sum over samples or elements is larger than the mean by their number. What a known function was
given bounds its mean, so that a factor is believed only where the recorded losses lie inside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.format.loss_operations import BINARY

BOUND_SLACK = 0.02  # float32 statistics, and a last batch of another size
CHECKED_STEPS = 5  # first sampled steps: there the bounds are narrow
NODES = 64  # of the quadrature: errors below 1e-3
GUESSED_FACTOR = 3.0  # where the answer was not recorded: a fresh network costs about the naive

CROSS_ENTROPIES = frozenset({"cross_entropy", "nll_loss"})
SQUARED = frozenset({"mse_loss"})
HUBER = frozenset({"huber_loss", "smooth_l1_loss"})  # one function where their width is 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInput:
    """Statistics of what a loss function was given at one step: logits, target, last output.

    `counts` are samples of each class in one of the `forwards` of the step; classes that the loss
    ignores are left out.
    """

    step: int
    site: str
    op: str
    n: int
    forwards: int
    mean: float
    mean_square: float
    low: float
    high: float
    absmax: float
    n_units: int
    counts: FloatArray | None

    @property
    def variance(self) -> float:
        """Of the elements."""
        return max(self.mean_square - self.mean**2, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossStep:
    """What a loss function read at one sampled step, and the loss that was recorded there.

    `answer` is the logits, or for regressions the output of the last layer where it has the
    target's size; `samples` is the batch size, `calls` the backward passes that made it.
    """

    answer: LossInput | None
    target: LossInput | None
    loss: float
    samples: float
    calls: float


Unit = Callable[[str, LossStep], float]


def unit_of(op: str, pairs: list[LossStep], naive: float) -> float | None:
    """Factor from the mean reduction to the recorded loss: 1, elements, or samples; None unknown.

    The recorded loss must lie inside the bounds at each of the first sampled steps. The elements
    may be those of one of several backward passes of a step, if the loss of each was recorded: then
    their mean is. Of the two, the one is taken that the first loss is nearer to what the same
    answers would cost had they nothing to do with the targets.

    Args:
        op: Name of the loss function.
        pairs: What it read, by step, ascending.
        naive: Mean loss of knowing nothing.
    """
    # Answers whose squares overflow bound nothing.
    checked = [p for p in pairs if p.answer is None or math.isfinite(p.answer.mean_square)]
    checked = checked[:CHECKED_STEPS]
    # Without the answer there are no bounds, and one unit too many would fit any loss.
    known = any(pair.answer is not None for pair in checked)
    units: list[Unit] = [_one]
    if known:
        units += [_elements, _samples, _elements_per_sample, _elements_per_call]
    fitting = [
        unit
        for unit in units
        if checked and all(_inside(op, pair, unit(op, pair), naive) for pair in checked)
    ]
    if not fitting:
        return None
    chosen = fitting[0]
    if chosen is _elements and _elements_per_call in fitting:
        chosen = min((_elements, _elements_per_call), key=lambda u: _surprise(op, checked[0], u))
    return float(np.median([chosen(op, pair) for pair in pairs]))


def _surprise(op: str, pair: LossStep, unit: Unit) -> float:
    """Nats between the loss in this unit and that of an answer unrelated to the target."""
    loss, unrelated = pair.loss / unit(op, pair), _unrelated(op, pair)
    return abs(math.log(loss / unrelated)) if loss > 0 and unrelated > 0 else 0.0


def _unrelated(op: str, pair: LossStep) -> float:
    """Mean loss of an answer unrelated to the target, to second order in the answer."""
    answer, target = pair.answer, pair.target
    if answer is None:
        return math.nan
    if op in CROSS_ENTROPIES:
        return math.log(max(2, answer.n_units)) + answer.mean_square / 2
    if op in BINARY or target is None:
        return math.log(2)
    mean = answer.mean - target.mean
    variance = answer.variance + target.variance
    return _gaussian_huber(mean, variance) if op in HUBER else mean**2 + variance


def _one(op: str, pair: LossStep) -> float:
    del op, pair
    return 1.0


def _elements(op: str, pair: LossStep) -> float:
    """Terms of the sum; labels that the loss ignores are none."""
    read = pair.target or pair.answer
    if op in CROSS_ENTROPIES and pair.answer is not None:
        return pair.answer.n / max(1, pair.answer.n_units) * _counted_share(pair.target)
    return float(read.n) if read is not None else math.nan


def _counted_share(target: LossInput | None) -> float:
    if target is None or target.counts is None:
        return 1.0
    return min(1.0, float(target.counts.sum()) * target.forwards / target.n)


def _samples(op: str, pair: LossStep) -> float:
    del op
    return pair.samples


def _elements_per_call(op: str, pair: LossStep) -> float:
    return _elements(op, pair) / pair.calls


def _elements_per_sample(op: str, pair: LossStep) -> float:
    return _elements(op, pair) / pair.samples if pair.samples else math.nan


def _inside(op: str, pair: LossStep, unit: float, naive: float) -> bool:
    if not unit > 0:
        return False
    low, high = _bounds(op, pair, naive)
    return low * (1 - BOUND_SLACK) <= pair.loss / unit <= high * (1 + BOUND_SLACK)


def _bounds(op: str, pair: LossStep, naive: float) -> tuple[float, float]:
    """Least and largest mean loss that these inputs allow; exact where the answer is known."""
    answer, target = pair.answer, pair.target
    if answer is None:
        return naive / GUESSED_FACTOR, naive * GUESSED_FACTOR
    if op in CROSS_ENTROPIES:
        # Logits are recorded without their row mean: lse lies between ln C (Jensen) and absmax
        # above it, and the label's logit within absmax of 0.
        middle = math.log(max(2, answer.n_units))
        return max(0.0, middle - answer.absmax), middle + 2 * answer.absmax
    if op == "binary_cross_entropy_with_logits":
        return max(0.0, math.log(2) - answer.absmax), math.log(2) + answer.absmax
    if op == "binary_cross_entropy":
        edge = max(min(answer.low, 1 - answer.high), 1e-44)
        return -math.log(min(1.0, max(answer.high, 1 - answer.low))), -math.log(edge)
    truth = math.sqrt(target.mean_square) if target is not None else math.nan
    given = math.sqrt(answer.mean_square)
    low, high = (given - truth) ** 2, (given + truth) ** 2  # Minkowski
    if op not in HUBER or target is None:
        return low, high
    # Concave in the squared error: below Jensen's bound, above the chord to the largest error.
    return low * _chord((answer.absmax + target.absmax) ** 2), _huber(high)


def _huber(square: float) -> float:
    """Huber's loss of width 1 of an error with this square."""
    return square / 2 if square <= 1 else math.sqrt(square) - 0.5


def huber_level(mean: float, variance: float, largest: float) -> float:
    """Mean of Huber's loss of width 1 over errors of which moments and the largest are known.

    That of Gaussian errors, or the least that the largest allows, if that is more: of errors that
    all have the same size it is exact.
    """
    return max(_gaussian_huber(mean, variance), (mean**2 + variance) * _chord(largest**2))


def _chord(largest: float) -> float:
    """Least loss over mean square of errors whose squares are at most this."""
    return _huber(largest) / largest if largest > 0 else 0.0


def _gaussian_huber(mean: float, variance: float) -> float:
    """Mean of Huber's loss of width 1 over Gaussian errors, by Gauss-Hermite quadrature.

    Source: the function is that of Huber 1964, doi 10.1214/aoms/1177703732.
    """
    places, weights = np.polynomial.hermite.hermgauss(NODES)
    errors = mean + math.sqrt(2 * variance) * places
    return float(weights @ [_huber(error**2) for error in errors.tolist()] / math.sqrt(math.pi))
