"""Whether the ends of sequences in a target are filled with one class number.

The number fills the end (or the beginning) of rows of several lengths and stands nowhere else,
while the other numbers change from place to place: labels of phases, of which the last one lasts to
the end, do not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_ROWS, MIN_LENGTH = 4, 4
MIN_CLASSES = 3  # beside the padding
MAX_REPEATED = 0.5  # of neighbours that are not padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """A class number that fills up rows, and its share of all targets."""

    index: int
    share: float


def padding_of(target: npt.NDArray[np.float64], *, ignored: int | None) -> Padding | None:
    """The padding that a loss counts; None where there is none.

    Args:
        target: Class numbers, shape (n_sequences, length).
        ignored: What the loss leaves out; None where that is not known.
    """
    if ignored is None or target.ndim != 2 or target.shape[0] < MIN_ROWS:  # noqa: PLR2004
        return None
    if target.shape[1] < MIN_LENGTH or not (target == np.round(target)).all():
        return None
    for rows in (target, target[:, ::-1]):
        last = rows[:, -1]
        values, counts = np.unique(last, return_counts=True)
        index = int(values[counts.argmax()])
        is_padding = rows == index
        if index != ignored and _fills_up(rows, is_padding):
            return Padding(index=index, share=float(is_padding.mean()))
    return None


def _fills_up(rows: npt.NDArray[np.float64], is_padding: npt.NDArray[np.bool_]) -> bool:
    lengths = is_padding.sum(1)
    goes_on = bool((is_padding[:, 1:] >= is_padding[:, :-1]).all())  # to the end of each row
    if not goes_on or lengths.min() == lengths.max() or lengths.max() <= 1:
        return False
    told = ~is_padding[:, 1:] & ~is_padding[:, :-1]
    repeated = (rows[:, 1:] == rows[:, :-1])[told]
    others = np.unique(rows[~is_padding])
    changes = bool(repeated.size) and float(repeated.mean()) <= MAX_REPEATED
    return others.size >= MIN_CLASSES and changes
