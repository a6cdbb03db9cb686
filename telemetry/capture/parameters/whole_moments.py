"""Moments and histograms over all elements of tensors, where a kernel makes them for one read."""

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

from telemetry.capture.isolation.contained import contained

logger = logging.getLogger(__name__)

KERNEL_MODULE = "telemetry.capture.parameters.kernels.moments"
MEASURES = ("sum", "sumsq", "min", "max", "n_zero", "n_nan", "n_inf")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeMoments:
    """Of all elements of some tensors, on their device.

    Attributes:
        measures: One row for each of `MEASURES`, float64, shape (7, n_tensors). Sums, minimum and
            maximum are of the finite elements, (inf, -inf) where there is none.
        fields: Finite elements other than zero per sign and exponent of their float32 value, as
            `telemetry.format.histograms` numbers them, int32, shape (n_tensors, 512); None if not
            wanted.
    """

    measures: Tensor
    fields: Tensor | None

    def of(self, name: str) -> Tensor:
        """One of `MEASURES`, shape (n_tensors,)."""
        return self.measures[MEASURES.index(name)]


Measure: TypeAlias = Callable[[Sequence[Tensor], bool], WholeMoments]


def whole_moments(tensors: Sequence[Tensor], *, with_fields: bool) -> WholeMoments | None:
    """What the kernel of the tensors' device says, without waiting for it.

    Args:
        tensors: At least one, on one device.
        with_fields: Whether to count exponents.

    Returns:
        None where there is no kernel: on a CPU, without Triton, and where the kernel has failed.
    """
    measure = None if _failed else kernel(tensors[0].device)
    if measure is None:
        return None
    with contained(_kernel_failed):
        return measure(tensors, with_fields)
    return None


def kernel(device: torch.device) -> Measure | None:
    """The function that launches the kernel of a device; None where there is none."""
    return _load() if device.type == "cuda" else None


@cache
def _load() -> Measure | None:
    try:
        module = importlib.import_module(KERNEL_MODULE)
    except ImportError:
        return None
    measure: Measure = module.measure
    return measure


_failed: list[str] = []


def _kernel_failed(error: Exception) -> None:
    """Go on without: Triton needs a C compiler, and not every device runs every operation."""
    _failed.append(str(error))
    logger.warning(
        "telemetry: the CUDA kernel failed; gradients and weights are sampled", exc_info=error
    )
