"""What goes into the model is brought to mean 0 and deviation 1, feature by feature.

By the moments of all training batches so far, which an evaluation uses without adding to them. A
feature is a column of a table or of a sequence, or a channel of an image.
"""

import torch
from torch import Tensor, nn

from telemetry.capture.remedy import Dose, Moment, Remedy, Treated

IMAGE_DIMENSIONS = 4  # from which on the second dimension holds the channels
TINY = 1e-12  # deviation of a constant feature


class Moments:
    """Mean and variance of each feature over everything seen so far."""

    def __init__(self) -> None:
        self._n = 0
        self._mean: Tensor | float = 0.0
        self._square: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Add values of shape (n, features).

        Source: Chan, Golub and LeVeque, Updating Formulae, 1979.
        """
        mean, n = values.mean(0), values.shape[0]
        change = mean - self._mean
        total = self._n + n
        self._square = self._square + ((values - mean) ** 2).sum(0)
        self._square = self._square + change**2 * (self._n * n / total)
        self._mean = self._mean + change * (n / total)
        self._n = total

    def standardized(self, values: Tensor) -> Tensor:
        """The values, shape (..., features), by the moments so far."""
        if not isinstance(self._square, Tensor):
            return values
        deviation = (self._square / self._n).sqrt()
        deviation = torch.where(deviation > TINY, deviation, torch.ones_like(deviation))
        return (values - self._mean) / deviation


def attach(treated: Treated, _dose: Dose) -> None:
    """Hook the model's entry."""
    moments: dict[int, Moments] = {}

    def standardize(_module: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(_standardized(treated, moments, *entry) for entry in enumerate(arguments))

    treated.before_forward(standardize)


def _standardized(
    treated: Treated, moments: dict[int, Moments], place: int, value: object
) -> object:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() <= 1:
        return value
    axis = 1 if value.dim() >= IMAGE_DIMENSIONS else -1
    last = value.movedim(axis, -1)
    known = moments.setdefault(place, Moments())
    if torch.is_grad_enabled():
        with torch.no_grad():
            known.add(last.detach().reshape(-1, last.shape[-1]))
    treated.acts()
    return known.standardized(last).movedim(-1, axis)


REMEDY = Remedy(
    id="standardize-inputs",
    changes="brings each input feature to mean 0 and deviation 1",
    doses=("standardize-inputs",),
    treats={
        "input_scale": ("standardize-inputs",),
        "saturated_units": ("standardize-inputs",),
    },
    moment=Moment.FORWARD,
    attach=attach,
)
