"""Signal profiles over depth: what reaches each layer, in bits, and its slope a layer.

Widths and strides drop out: a gradient is taken as ||g|| / sqrt(fan_in), an output gradient as its
norm over the whole batch, which a network with fan-in initialisation passes on unchanged whatever
its widths. A pre-activation is taken as its standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.evidence.grids import grids
from telemetry.diagnose.evidence.network import Network
from telemetry.diagnose.judgement.robust import (
    FloatArray,
    IntArray,
    log2_positive,
    row_medians,
    slopes,
)
from telemetry.store.sessions.rows import Rows

MIN_LAYERS = 5
COVERED_SHARE = 0.8  # of the layers of a chain must have a value for a sample to count


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One signal along the chain, in bits, from the input to the head.

    Attributes:
        steps: Sampled steps, shape (n_samples,).
        layers: Module paths in the order of execution; twice for a layer of two matrices.
        bits: Shape (n_samples, n_layers); NaN where the signal is zero or was not seen.
        of_weights: Weight gradients; else a signal of the layers' outputs.
        slope: Theil-Sen slope in bits a layer toward the head, shape (n_samples,).
    """

    steps: IntArray
    layers: tuple[str, ...]
    bits: FloatArray
    slope: FloatArray
    of_weights: bool = False

    @property
    def n_layers(self) -> int:
        """Layers of the chain."""
        return len(self.layers)

    @property
    def long_enough(self) -> bool:
        """Five layers make a slope."""
        return self.n_layers >= MIN_LAYERS and bool(self.steps.size)

    @property
    def drop(self) -> FloatArray:
        """First layer with a signal minus the head, in bits, shape (n_samples,)."""
        found = np.full(self.steps.size, np.nan)
        for line in range(self.steps.size):
            seen = np.flatnonzero(~np.isnan(self.bits[line]))
            if seen.size and seen[-1] == self.n_layers - 1:
                found[line] = self.bits[line, seen[0]] - self.bits[line, seen[-1]]
        return found

    def usual(self, where: IntArray) -> FloatArray:
        """Median over some samples, shape (n_layers,)."""
        return row_medians(self.bits[where].T)


def gradient_profile(rows: Rows, network: Network, *, keep: int = 96) -> Profile:
    """Weight gradients of the matrices; `rows` has signal `gradient` by parameter."""
    found = grids(rows)["gradient"]
    seen = found.seen()
    matrices = [matrix for matrix in network.matrices if matrix.id in seen]
    chosen = found.columns([matrix.id for matrix in matrices]).thinned(keep)
    scale = np.sqrt(np.array([matrix.fan_in for matrix in matrices], dtype=np.float64))
    layers = [matrix.layer for matrix in matrices]
    return replace(_profile(chosen.steps, chosen.values / scale, layers), of_weights=True)


def layer_profile(rows: Rows, network: Network, signal: str, *, keep: int = 96) -> Profile:
    """`output_grad` or `output` of the linear and convolution layers; `rows` has it by module."""
    found = grids(rows)[signal]
    seen = found.seen()
    modules = [module for module in network.chain if module.id in seen]
    chosen = found.columns([module.id for module in modules]).thinned(keep)
    return _profile(chosen.steps, chosen.values, [module.path for module in modules])


def recurrent_excess(profile: Profile, network: Network) -> tuple[FloatArray, str]:
    """Bits by which recurrent layers exceed the others, and the layer that exceeds them most.

    The gradient of a recurrent matrix is a sum over time steps: what grows over time shows here.

    Returns:
        Shape (n_samples,), NaN where either kind is missing; '' when there is no such layer.
    """
    inside = np.array([layer in network.recurrent for layer in profile.layers], np.bool_)
    if not profile.steps.size or not inside.any() or inside.all():
        return np.full(profile.steps.size, np.nan), ""
    own = np.where(inside & ~np.isnan(profile.bits), profile.bits, -np.inf)
    excess = own.max(axis=1) - row_medians(np.where(inside, np.nan, profile.bits))
    worst = int(np.argmax(row_medians(own.T)))
    return np.where(np.isfinite(excess), excess, np.nan), profile.layers[worst]


def _profile(steps: IntArray, values: FloatArray, layers: Sequence[str]) -> Profile:
    bits = log2_positive(values)
    covered = (~np.isnan(bits)).mean(axis=1) >= COVERED_SHARE if layers else np.zeros(steps.size)
    slope = np.where(covered, slopes(bits), np.nan)
    return Profile(steps=steps, layers=tuple(layers), bits=bits, slope=slope)
