"""Whether a picture that was made for a unit shows what the unit answers to."""

import torch
from torch import Tensor

from telemetry.explain.results.check import Check

LEAST_Z = 5.0  # standard deviations above noise
MOST_LEAD = 1.0  # of another unit's picture, in standard deviations over real examples
# Of the rise above noise, where that is hundreds of these deviations: a lead of less is none.
LEAD_SHARE = 0.01


def above_noise(z: float) -> Check:
    """The picture excites the unit far more than noise."""
    return Check(
        name="above_noise",
        value=z,
        threshold=LEAST_Z,
        ok=z >= LEAST_Z,
        meaning="the picture activates the unit hardly more than noise does: increase --steps",
    )


def above_real(activation: float, real_max: float) -> Check:
    """The picture excites the unit more than every real example."""
    return Check(
        name="above_real",
        value=activation,
        threshold=real_max,
        ok=activation > real_max,
        meaning="a real example activates the unit more than the picture made for it",
    )


def own_unit(lead: float, rise: float, rival: int) -> Check:
    """No picture of another unit excites the unit much more than its own.

    Args:
        lead: Of the best picture of another unit, in standard deviations over real examples.
        rise: Of its own best picture above noise, in the same.
        rival: That unit.
    """
    most = max(MOST_LEAD, LEAD_SHARE * rise)
    return Check(
        name="own_unit",
        value=lead,
        threshold=most,
        ok=lead <= most,
        meaning=f"the picture made for unit {rival} activates the unit much more than its own: "
        "the search has not found what the unit looks for; increase --steps",
    )


def seeds_agree(same: float, different: float) -> Check:
    """Pictures of the unit from other noise are more alike than pictures of other units.

    Args:
        same: Mean correlation of its pictures.
        different: Of its pictures with those of other units.
    """
    return Check(
        name="seeds_agree",
        value=same,
        threshold=different,
        ok=same > different,
        meaning="pictures of the unit are no more alike than those of different units",
    )


def mean_correlation(left: Tensor, right: Tensor) -> float:
    """Mean correlation of pictures over pixels; pairs of a picture with itself do not count.

    Args:
        left: Shape (n, ...).
        right: Shape (m, ...); the same tensor as `left` for pairs within it.
    """
    units = [(part.flatten(1) - part.flatten(1).mean(1, keepdim=True)) for part in (left, right)]
    units = [part / part.norm(dim=1, keepdim=True).clamp_min(1e-12) for part in units]
    table = (units[0] @ units[1].T).double()
    if left is right:
        n = len(left)
        return float(table[~torch.eye(n, dtype=torch.bool)].mean()) if n > 1 else 1.0
    return float(table.mean())
