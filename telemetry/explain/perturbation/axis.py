"""One way to change an example, with a unit and a value that changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from telemetry.explain.inputs.examples import Example

SEED_STRIDE = 1_000_003  # between seeds: no example has the noise of another

Apply = Callable[[Example, float], tuple[Tensor, float]]  # the input, and the share clipped
Amounts = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """One way to change an example.

    Attributes:
        name: As the user says it.
        unit: Of its values; empty for a column, which has its own.
        neutral: The value that changes nothing; of a column that of the middle example.
        values: What is tried, ascending, the neutral value among them.
        apply: Example and value to an input and the share of its elements that were clipped.
        own: The value that an example has already, where that is not the same for all.
        can_clip: Whether values may leave their range.
    """

    name: str
    unit: str
    neutral: float
    values: Amounts
    apply: Apply
    own: Callable[[Example], float] | None = None
    can_clip: bool = False

    def of(self, example: Example) -> "Axis":
        """The axis as it lies for one example: its own value is the neutral one."""
        if self.own is None:
            return self
        neutral = self.own(example)
        return replace(self, neutral=neutral, values=with_value(self.values, neutral))


def seed_of(example: Example, seed: int) -> int:
    """A seed of an example's own."""
    return seed * SEED_STRIDE + example.index


def evenly(low: float, high: float, steps: int) -> Amounts:
    """So many values from end to end."""
    places = [low + (high - low) * place / (steps - 1) for place in range(steps)]
    return tuple(float(f"{value:.9g}") for value in places)  # 0.15, not 0.15000000000000002


def with_value(values: Amounts, value: float) -> Amounts:
    """Values, ascending, with one more."""
    return tuple(sorted({*values, value}))
