"""Gains of weight matrices: what the size of the weights alone does to a signal.

The gain of a matrix is RMS(W) sqrt(fan_in), the standard deviation that its rows give to inputs of
independent entries of variance 1 (He et al., arXiv:1502.01852). It is sqrt(2) after He's
initialisation, 1 after Xavier's of a square matrix, LeCun's and an orthogonal one, 1 / sqrt(3) by
PyTorch's default, 5/3 in front of tanh, and 0.16 for the 0.02 of GPT-2 in a width of 64. No width
of the layers and no loss enters it. An embedding gives one row at a time: its gain is its RMS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.evidence.grids import Grid
from telemetry.diagnose.evidence.network import Network, Parameter
from telemetry.diagnose.judgement.robust import FloatArray, median


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """Gains of the matrices, or of the embeddings, at the first sampled step.

    Attributes:
        layers: Module path of each, in the order of execution.
        values: Gain of each, shape (n_layers,).
        signals: What each makes of the state it reads, where that is known; shape (n_layers,).
    """

    layers: tuple[str, ...]
    values: FloatArray
    signals: FloatArray | None = None

    @property
    def usual(self) -> float:
        """The median: NaN without matrices. One large or one empty head does not change it."""
        return median(self.values)

    def beyond(self, limit: float, *, large: bool) -> tuple[str, ...]:
        """Layers at or above a limit, or at or below it."""
        held = self.values >= limit if large else self.values <= limit
        return tuple(dict.fromkeys(self.layers[place] for place in np.flatnonzero(held)))


def first_gains(norms: Grid, network: Network) -> Gains:
    """Gains of all matrices whose norm was sampled.

    Args:
        norms: L2 norms of the weights, by parameter.
        network: The network they belong to.
    """
    return _gains(norms, [(matrix, matrix.fan_in / matrix.n) for matrix in network.matrices])


def table_gains(norms: Grid, network: Network) -> Gains:
    """Gains of embeddings and other tables of rows; arguments as for `first_gains`."""
    return _gains(norms, [(table, 1 / table.n) for table in network.tables])


def _gains(norms: Grid, chosen: Sequence[tuple[Parameter, float]]) -> Gains:
    found = [(p, size, first) for p, size in chosen if (first := norms.column(p.id)[:1]).size]
    return Gains(
        layers=tuple(parameter.layer for parameter, _, _ in found),
        values=np.array([float(n[0]) * np.sqrt(size) for _, size, n in found], np.float64),
    )


def first_loops(norms: Grid, outputs: Grid, network: Network) -> Gains:
    """Gains of recurrent weights, and the deviation of what they add to a pre-activation.

    Args:
        norms: L2 norms of the weights, by parameter.
        outputs: Deviations of the outputs, by module: of a recurrent layer, those of its state.
        network: The network they belong to.
    """
    kept = [m for m in network.matrices if "weight_hh" in m.name and m.layer in network.recurrent]
    modules = {m.path: m.id for m in network.modules}
    found = [
        (m.layer, float(norm[0]) * np.sqrt(m.fan_in / m.n), float(state[0]))
        for m in kept
        if (norm := norms.column(m.id)[:1]).size
        and (state := outputs.column(modules[m.layer])[:1]).size
    ]
    gains = np.array([gain for _, gain, _ in found], np.float64)
    return Gains(
        layers=tuple(layer for layer, _, _ in found),
        values=gains,
        signals=gains * np.array([state for _, _, state in found], np.float64),
    )
