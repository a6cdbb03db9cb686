"""Units that fired in no sample of a window, per site; runs on the writer thread.

One batch is no evidence of death: on one batch of a sparse autoencoder 53 % of the units were
silent, over all data 22 %. So the "ever fired" bits of the sampled training steps
are OR-ed until a window holds 8 samples and 512 positions; the next sample begins a new window.

Each row carries the running window. `window_samples` counts its positions, but stays below 512
until the window holds 8 samples: `window_samples >= 512` says that the row closes a complete
window, and such rows are the windows that a detector counts. A row below that overstates death.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]

WINDOW_SAMPLES = 8  # sampled training steps, as dead_units needs them
WINDOW_POSITIONS = 512  # positions (elements per unit), as dead_units needs them


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadUnits:
    """The running window of a site after a sample.

    Attributes:
        dead: Units without activity so far in the window, shape (n_units,).
        window_samples: Positions seen; 512 or more only in the row that completes a window.
    """

    dead: BoolArray
    window_samples: int

    @property
    def n_dead(self) -> int:
        """Units without activity."""
        return int(self.dead.sum())

    @property
    def bitmap(self) -> bytes | None:
        """Bit i of byte i // 8, least significant first; None when no unit is dead."""
        return np.packbits(self.dead, bitorder="little").tobytes() if self.dead.any() else None


class DeadWindows:
    """The windows of all sites of a model."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def add(self, site: tuple[str, str], fired: BoolArray, n_positions: int) -> DeadUnits:
        """Merge one sampled training step into the window of a site.

        Args:
            site: Module path and site.
            fired: Whether a unit was active at any position of the step, shape (n_units,).
            n_positions: Positions per unit in that step.
        """
        window = self._windows.get(site)
        if window is None or window.fired.shape != fired.shape:
            window = self._windows[site] = _Window(fired=np.zeros_like(fired))
        window.fired |= fired
        window.n_samples += 1
        window.n_positions += n_positions
        seen = window.n_positions
        if window.n_samples < WINDOW_SAMPLES:
            seen = min(seen, WINDOW_POSITIONS - 1)
        elif seen >= WINDOW_POSITIONS:
            del self._windows[site]
        return DeadUnits(dead=~window.fired, window_samples=seen)


@dataclass(slots=True, kw_only=True)
class _Window:
    fired: BoolArray
    n_samples: int = 0
    n_positions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadBitmap:
    """The columns of `module_stats` that a window fills; a `Statistic`."""

    id: str = "dead_bitmap"
    columns: tuple[str, ...] = ("n_dead", "window_samples", "dead")


STATISTIC = DeadBitmap()
