"""What a loss would be if the model answered every example alike: the best such answer, searched.

Runs on the writer thread, on copies. An answer that was fitted to a batch does better on it than on
the next one, by as much as it does worse on a batch it was not fitted to; the mean of both is the
loss of the best constant.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from torch import Tensor

from telemetry.capture.losses.constant_search import (
    N_ITERATIONS,
    Group,
    answer_units,
    drawn,
    finite_value,
    fit,
    group_of,
    measures_distance,
    neutral,
    scales,
    strided,
)
from telemetry.capture.losses.parts import parts_of
from telemetry.capture.losses.replay import Program
from telemetry.capture.losses.right_answers import RightAnswers, right_answers

N_KEPT = 4  # batches that a constant is fitted to
MAX_WORK = 4e8  # elements times operations times iterations of one fit: about a second
SAME = 0.02  # a replay that misses the loss by more is of another function
FAR = 1e4  # usual answers and more: no minimum is there
ROWS_PER_UNIT = 10  # as many labels of each class tell their shares
# Fewer that a constant is fitted to are learned by heart: the mean with what it costs on others is
# too small by an eighth of a nat and more.
FITTED_PER_UNIT = 4
SHIFTS = (0.3, 1.9)

NOT_THE_SAME = "run again, the operations of the loss gave another value"
UNBOUNDED = "the loss falls without bound as the answer grows"
TOO_SLOW = "to run the loss again takes too long"
FEW = "too few examples to know the best constant answer"
FAILED = "the operations of the loss cannot be run again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Losses of knowing nothing; None where they are not known, and why.

    Attributes:
        constant: Of the best constant answer.
        naive: Of the answer 0, of one half after a sigmoid, of equal shares after a softmax.
        drawn: The larger loss of two constants that are no special ones, of a loss that reads
            nothing but outputs and parameters; else None.
        right: Of right answers.
        reason: Why the constant is not known.
    """

    constant: float | None = None
    naive: float | None = None
    drawn: float | None = None
    right: RightAnswers | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLoss:
    """What of a loss reads targets and what does not; None where it is no such sum.

    Attributes:
        n_terms: How many terms it has.
        of_targets: Those that read targets.
        free: The others.
        penalties: Those of them that read parameters alone.
        constant: What the first would be of the best constant answer.
    """

    n_terms: int | None = None
    of_targets: float | None = None
    free: float | None = None
    penalties: float | None = None
    constant: float | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Search:
    """The constant of one loss, which goes on from batch to batch.

    Attributes:
        kept: The newest batches.
        constants: Of the last fit.
        fitted: What they cost on the batches of that fit.
        n_seen: Batches so far.
    """

    kept: deque[Program] = field(default_factory=lambda: deque(maxlen=N_KEPT))
    constants: dict[Group, Tensor] = field(default_factory=dict)
    fitted: float | None = None
    n_seen: int = 0

    @property
    def is_due(self) -> bool:
        """Whether to fit now: at batches 1, 2, 4, 8, ..., for more of them change less."""
        return self.n_seen & (self.n_seen - 1) == 0


class ConstantAnswers:
    """Searches the best constant of every loss of a run; the writer thread's alone."""

    def __init__(self) -> None:
        self._searches: dict[tuple[object, ...], _Search] = {}

    def levels(self, program: Program, root: float) -> Levels:
        """Levels of a loss on one batch, in its unit.

        Args:
            program: On the host.
            root: What the training got.
        """
        try:
            return self._levels(program, root)
        except (RuntimeError, TypeError, ValueError, LookupError, NotImplementedError) as error:
            return Levels(reason=f"{FAILED}: {str(error).partition(chr(10))[0][:120]}")

    def parts(self, program: Program) -> SplitLoss:
        """The parts of a loss on one batch, in its unit.

        Args:
            program: On the host.
        """
        try:
            found = parts_of(program)
            if found is None:
                return SplitLoss()
            levels = self._levels(found.program, found.of_targets)
        except (RuntimeError, TypeError, ValueError, LookupError, NotImplementedError):
            return SplitLoss()
        return SplitLoss(
            n_terms=found.n_terms,
            of_targets=found.of_targets,
            free=found.free,
            penalties=found.penalties,
            constant=levels.constant,
        )

    def _levels(self, program: Program, root: float) -> Levels:
        if not math.isfinite(root):
            return Levels(reason="the loss is not finite")
        own = {each.number: strided(each.values, each.stride) for each in program.answers}
        again = float(program.evaluate(own))
        if not abs(again - root) <= SAME * max(abs(root), 1e-3):
            return Levels(reason=NOT_THE_SAME)
        search = self._searches.setdefault(program.signature, _Search())
        if N_ITERATIONS * len(program.instructions) * program.n_elements > MAX_WORK:
            return Levels(reason=TOO_SLOW)
        naive = finite_value([program], neutral(program))
        before = finite_value([program], search.constants) if search.constants else None
        search.kept.append(program)
        search.n_seen += 1
        if search.is_due:
            kept = list(search.kept)
            search.constants = fit(kept, search.constants)
            search.fitted = finite_value(kept, search.constants)
        joined = _joined(search, program, before=before, naive=naive)
        return replace(joined, drawn=_drawn(program), right=right_answers(program))


def _drawn(program: Program) -> float | None:
    data = program.constants.keys() - program.trained
    if any(program.constants[place].numel() > 1 for place in data):
        return None
    try:
        values = [finite_value([program], drawn(program, shift)) for shift in SHIFTS]
    except (RuntimeError, ValueError):  # a loss that does not take every number
        return None
    known = [value for value in values if value is not None]
    return max(known, default=None)


def _joined(
    search: _Search, program: Program, *, before: float | None, naive: float | None
) -> Levels:
    """The mean of what the constants cost on batches that they were and were not fitted to."""
    usual = scales(program)
    if any(bool((c.abs() > FAR * usual[group]).any()) for group, c in search.constants.items()):
        return Levels(naive=naive, reason=UNBOUNDED)
    fitted = search.fitted
    if fitted is None:
        return Levels(naive=naive, reason=FAILED)
    if before is None:
        few = any(
            each.values.numel() < ROWS_PER_UNIT * answer_units(each) ** 2
            for each in program.answers
        )
        return Levels(naive=naive, reason=FEW) if few else Levels(constant=fitted, naive=naive)
    if not measures_distance(program) and _learned_by_heart(search.kept):
        return Levels(naive=naive, reason=FEW)
    if naive is not None:
        before = min(before, max(naive, fitted))
    return Levels(constant=(fitted + before) / 2, naive=naive)


def _learned_by_heart(kept: Iterable[Program]) -> bool:
    """Whether the batches of a fit are too small for the classes that their answers score."""
    n_rows: Counter[Group] = Counter()
    units: dict[Group, int] = {}
    for program in kept:
        for each in program.answers:
            group = group_of(each)
            units[group] = answer_units(each)
            n_rows[group] += each.values.numel() // units[group]
    return any(n_rows[group] < FITTED_PER_UNIT * n for group, n in units.items())
