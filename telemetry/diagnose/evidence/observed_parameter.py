"""What the samples of a run say of one parameter: whether it gets gradients, and moves."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.diagnose.evidence.network import Parameter
from telemetry.store.sessions.rows import SqlValue, as_float

MIN_SAMPLES = 5
# Largest over root mean square: the square root of 3 for uniform values, as the default
# initialisations and Xavier's draw them; 3 and more for normal ones and for trained weights.
UNIFORM = 3**0.5
UNIFORM_SLACK = 0.04
UNIFORM_ELEMENTS = 256  # from which on the largest of them is near the bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Counts of one parameter over the sampled steps that had a learning rate."""

    parameter: Parameter
    n_forwards: int
    n_gradient: int
    n_none: int
    n_moving_gradient: int
    n_zero_gradient: int
    n_signals: int
    n_answers: int
    n_update: int
    n_still: int
    n_weight: int
    weight_range: float
    gradient_rms: float
    weight_rms: float
    peak: float
    lr: float
    first_step: int
    last_step: int

    @property
    def still(self) -> bool:
        """No element changed in any sample."""
        if self.n_update:
            return self.n_update == self.n_still
        return self.n_weight >= MIN_SAMPLES and self.weight_range == 0.0

    @property
    def looks_initial(self) -> bool:
        """Its values are spread evenly up to a bound: drawn so, never trained."""
        evenly = abs(self.peak / UNIFORM - 1) <= UNIFORM_SLACK
        return self.parameter.is_matrix and self.parameter.n >= UNIFORM_ELEMENTS and evenly

    @property
    def unfrozen(self) -> bool:
        """It required no gradient when the run began, and got one later: it was meant to train."""
        return not self.parameter.trainable and self.gets_gradient

    @property
    def waits(self) -> bool:
        """A table or adapter of zeros whose gradients are all zero.

        Matrices of zeros are poor_initialization's.
        """
        is_wide = self.parameter.n > self.parameter.rows > 1 and not self.parameter.is_matrix
        zero = self.weight_rms == 0.0 and not self.n_moving_gradient
        return is_wide and zero and min(self.n_weight, self.n_gradient - self.n_none) >= MIN_SAMPLES

    @property
    def no_gradient(self) -> bool:
        """The gradient was None in every sample."""
        return self.n_gradient >= MIN_SAMPLES and self.n_none == self.n_gradient

    @property
    def gets_gradient(self) -> bool:
        """The gradient was there and not zero in at least five samples."""
        return self.n_moving_gradient >= MIN_SAMPLES

    @property
    def zeroed(self) -> bool:
        """Each gradient was there and exactly zero, while that of the layer's outputs was not."""
        seen = self.n_zero_gradient >= MIN_SAMPLES and self.n_signals >= MIN_SAMPLES
        return seen and self.n_zero_gradient == self.n_gradient - self.n_none


def observed_from(record: Mapping[str, SqlValue], parameter: Parameter) -> Observed:
    """The counts of a row of the rule's statement."""

    def count(name: str) -> int:
        return int(as_float(record[name])) if record[name] is not None else 0

    return Observed(
        parameter=parameter,
        n_forwards=count("n_forwards"),
        n_gradient=count("n_gradient"),
        n_none=count("n_none"),
        n_moving_gradient=count("n_moving_gradient"),
        n_zero_gradient=count("n_zero_gradient"),
        n_signals=count("n_signals"),
        n_answers=count("n_answers"),
        n_update=count("n_update"),
        n_still=count("n_still"),
        n_weight=count("n_weight"),
        weight_range=as_float(record["weight_range"]),
        gradient_rms=as_float(record["gradient_rms"]),
        weight_rms=as_float(record["weight_rms"]),
        peak=as_float(record["peak"]),
        lr=as_float(record["lr"]),
        first_step=count("first_step"),
        last_step=count("last_step"),
    )
