"""Whether a column of the model's input is the target, up to scale and shift."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

MIN_ROWS = 8
MAX_VALUES = 1 << 16  # of a table that are looked at
LINEAR = 1 - 1e-6  # |correlation|: what computing in 32 bits leaves of 1
NO_COLUMN = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Rows of the model's input, and the target of each; copies."""

    inputs: Tensor
    target: Tensor

    def column(self) -> int | None:
        """The column that is linear in the target, -1 for none; None where the target is constant.

        A column that is one by chance is told apart by other batches.
        """
        inputs = self.inputs.cpu().double().numpy()  # on the writer thread
        target = self.target.cpu().double().numpy()
        if not np.isfinite(target).all() or np.ptp(target) == 0:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            columns, wanted = inputs - inputs.mean(0), target - target.mean()
            sizes = np.linalg.norm(columns, axis=0) * np.linalg.norm(wanted)
            shares = np.abs(wanted @ columns) / sizes
        equal = np.flatnonzero(np.nan_to_num(shares) >= LINEAR)
        return int(equal[0]) if equal.size else NO_COLUMN


def table_of(inputs: Tensor, target: Tensor) -> Table | None:
    """Copies of the first rows, still on their device; None where there is not one target a row."""
    n = len(inputs)
    if n < MIN_ROWS or target.numel() != n or target.device != inputs.device:
        return None
    n_rows = min(n, MAX_VALUES // inputs.shape[1])
    if n_rows < MIN_ROWS:
        return None
    return Table(
        inputs=inputs.detach()[:n_rows].clone(),
        target=target.detach().reshape(-1)[:n_rows].clone(),
    )
