"""Notices that a training begins to behave otherwise, by the few values that every step has.

On the writer thread, where values have left their device, and the training pays nothing for it. A
change is a shift of the level or of the noise that no noise makes: the median of 16 values against
that of the 64 before them, in units of their spread. A steady trend is part of that spread, so a
loss that falls as it did is none.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

FloatArray = npt.NDArray[np.float64]

LEVELS = ("loss", "grad_norm_total")  # columns of `steps`
STALE = "stale_grad_share"
N_BEFORE, N_NEW = 64, 16
# Of white noise the median of 16 values strays by a third of its standard deviation.
SHIFT_SPREADS = 4.0
WIDER = 4.0
LEAST_SPREAD_SHARE = 0.01  # of the level: a loss that has come to rest is not shifted by a hair
TO_DEVIATION = 1.4826  # from a median deviation, of normal noise
STALE_LIMIT = 0.5


class ChangeWatch:
    """Looks at rows of `steps` as they come.

    Attributes:
        tell: Called when there is a change.
    """

    def __init__(self) -> None:
        self.tell: Callable[[], None] = _nobody
        self._waiting: dict[str, FloatArray] = {name: np.empty(0) for name in LEVELS}
        self._was_stale: bool | None = None

    def see(self, rows: pa.Table) -> None:
        """Some more steps, in their order."""
        changes = [self._has_shifted(name, _known(rows, name)) for name in LEVELS]
        changes.append(self._is_stale_now(_known(rows, STALE)))
        if any(changes):
            self.tell()

    def _has_shifted(self, name: str, values: FloatArray) -> bool:
        waiting = np.concatenate([self._waiting[name], values])
        found = False
        while len(waiting) >= N_BEFORE + N_NEW:
            found |= is_change(waiting[:N_BEFORE], waiting[N_BEFORE : N_BEFORE + N_NEW])
            waiting = waiting[N_NEW:]
        self._waiting[name] = waiting
        return found

    def _is_stale_now(self, shares: FloatArray) -> bool:
        """Whether gradients that were cleared before each step are no longer."""
        found = False
        for is_stale in (shares > STALE_LIMIT).tolist():
            found |= is_stale and self._was_stale is False
            self._was_stale = is_stale
        return found


def is_change(before: FloatArray, new: FloatArray) -> bool:
    """Whether values, shape (n,), differ in level or noise from those before, shape (m,)."""
    level, spread = _level_and_spread(before)
    new_level, new_spread = _level_and_spread(new)
    least = LEAST_SPREAD_SHARE * abs(level)
    return bool(
        abs(new_level - level) > SHIFT_SPREADS * max(spread, least)
        or new_spread > WIDER * max(spread, least)
    )


def _level_and_spread(values: FloatArray) -> tuple[float, float]:
    level = float(np.median(values))
    return level, TO_DEVIATION * float(np.median(np.abs(values - level)))


def _known(rows: pa.Table, column: str) -> FloatArray:
    """Finite values of a column, shape (n,), none without it; others have an alarm of their own."""
    if column not in rows.column_names:
        return np.empty(0)
    values: FloatArray = rows[column].drop_null().to_numpy()
    return values[np.isfinite(values)]


def _nobody() -> None:
    """Nobody has asked to be told."""
