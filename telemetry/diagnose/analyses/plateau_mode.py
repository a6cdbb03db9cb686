"""A scheduler that watches a value and takes its improvement for a standstill.

What ReduceLROnPlateau was given is recorded, and so are its settings, so its decisions can be
repeated: in the mode that it has and in the other one. Which mode is right follows from what it is
given: a metric whose name says which way is better, or the loss of the training.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.evidence.rate_course import Course
from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.json_values import Json
from telemetry.metric_direction import higher_is_better, tells_direction

WATCHES = "ReduceLROnPlateau"
MIN_CALLS = 3
SAME = 1e-6  # relative: one number in single and in double precision


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongMode:
    """Cuts that came while the watched value improved.

    Attributes:
        name: Of what is watched.
        mode: That the scheduler has.
        right: That it should have.
        cuts: Places of the cuts, in the calls.
        wrong: Those of them since whose predecessor the value had improved.
        cuts_if_right: How often the right mode would have cut.
    """

    name: str
    mode: str
    right: str
    cuts: tuple[int, ...]
    wrong: tuple[int, ...]
    cuts_if_right: int


def wrong_mode(course: Course, context: RunContext) -> WrongMode | None:
    """What contradicts the mode of the scheduler that watches a value; None if nothing does."""
    values = course.watched.values
    settings = next((each for each in course.schedulers if each.get("class") == WATCHES), None)
    if settings is None or values.size < MIN_CALLS:
        return None
    mode, name = str(settings.get("mode")), _name(course, context)
    right = "max" if higher_is_better(name) else "min"
    if not name or mode == right:
        return None
    known, other = _Plateau.of(settings, mode), _Plateau.of(settings, right)
    cuts, better = known.cuts(values), other.improvements(values)
    starts = (0, *(cut + 1 for cut in cuts))
    wrong = tuple(
        cut for start, cut in zip(starts, cuts, strict=False) if better[start : cut + 1].any()
    )
    cuts_if_right = len(other.cuts(values))
    if not wrong or cuts_if_right >= len(cuts):
        return None
    return WrongMode(
        name=name, mode=mode, right=right, cuts=cuts, wrong=wrong, cuts_if_right=cuts_if_right
    )


def _name(course: Course, context: RunContext) -> str:
    """A metric that says which way is better and is what is watched, or the loss; else empty."""
    watched = course.watched
    told = {
        name
        for name, count in Counter(watched.metrics).items()
        if count == watched.values.size and tells_direction(name)
    }
    if len({higher_is_better(name) for name in told}) == 1:
        return min(told)
    places = np.searchsorted(context.loss_steps, watched.steps, side="right")
    starts = np.concatenate([[0], places[:-1]])
    ranges = [context.losses[a:b] for a, b in zip(starts, places, strict=True)]
    means = np.array([part.mean() if part.size else np.nan for part in ranges])
    last = np.array([part[-1] if part.size else np.nan for part in ranges])
    same = any(np.allclose(watched.values, each, rtol=SAME, atol=0.0) for each in (means, last))
    return "the training loss" if same else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plateau:
    """What ReduceLROnPlateau decides by."""

    is_max: bool
    patience: float = field(default=10.0)
    cooldown: float = field(default=0.0)
    threshold: float = field(default=1e-4)
    is_relative: bool = field(default=True)

    @classmethod
    def of(cls, settings: Mapping[str, Json], mode: str) -> "_Plateau":
        numbers = {
            key: float(value)
            for key in ("patience", "cooldown", "threshold")
            if isinstance(value := settings.get(key), int | float)
        }
        relative = settings.get("threshold_mode", "rel") == "rel"
        return cls(is_max=mode == "max", is_relative=relative, **numbers)

    def improvements(self, values: FloatArray) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Where a value after the first is a new best one, shape of the values."""
        better = self._new_best(values)
        return np.array([False, *better[1:]])

    def cuts(self, values: FloatArray) -> tuple[int, ...]:
        """Calls that cut the rate."""
        found, bad, cooldown = [], 0, 0.0
        for place, better in enumerate(self._new_best(values)):
            bad = 0 if better else bad + 1
            if cooldown > 0:
                cooldown, bad = cooldown - 1, 0
            if bad > self.patience:
                found.append(place)
                cooldown, bad = self.cooldown, 0
        return tuple(found)

    def _new_best(self, values: FloatArray) -> Sequence[bool]:
        best, found = -np.inf if self.is_max else np.inf, []
        for value in values.tolist():
            better = self._is_better(value, best)
            best = value if better else best
            found.append(better)
        return found

    def _is_better(self, value: float, best: float) -> bool:
        if not np.isfinite(best):
            return value > best if self.is_max else value < best
        margin = self.threshold * (best if self.is_relative else 1.0)
        return value > best + margin if self.is_max else value < best - margin
