"""Records of the module half: which site of which forward, and what was measured there."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

TRAIN = "train"
PROBE = "probe"
T = TypeVar("T")
OUTPUT_GRAD = "output_grad"


@dataclass(slots=True, kw_only=True)
class Forward:
    """One outermost forward; `phase` is None until it is known."""

    step: int
    phase: str | None


@dataclass(slots=True, kw_only=True)
class Label:
    """Where something was measured; not frozen, for that would take 4 us to make at every site.

    Attributes:
        path: Module path.
        site: As in `module_stats`.
        forward: The outermost forward it belongs to.
        dtype: Such as `float32`.
        n: Elements observed.
        n_units: Units of the tensor; classes at logits and targets.
        training: Mode of the module; None where no module ran.
        loss_op: Of logits and targets.
        ignored_class: Class number that does not count among `classes`.
        call: Of gradients: which call of the module in one forward.
        n_steps: Of gradients: time steps of the tensor.
    """

    path: str
    site: str
    forward: Forward
    dtype: str
    n: int
    n_units: int | None = None
    training: bool | None = None
    loss_op: str | None = None
    ignored_class: int | None = None
    call: int = 0
    n_steps: int | None = None

    @property
    def key(self) -> tuple[int, str | None, str, str]:
        """Observations with one key become one row."""
        return self.forward.step, self.forward.phase, self.path, self.site

    @property
    def n_positions(self) -> int:
        """Elements per unit."""
        return self.n // (self.n_units or 1)


class Measures(NamedTuple, Generic[T]):
    """What was measured of one tensor: tensors on its device, later arrays on the host.

    A tuple, for it is made at every site of a sampled step: a frozen class costs 3 µs.

    Attributes:
        sum: Sum of the finite elements.
        norm: L2 norm of the finite elements.
        low: Smallest finite element; not finite where that is unknown, None where it follows from
            those of the units.
        high: Largest finite element, likewise.
        n_nonzero: Elements that are not exactly zero; None where they are not counted.
        n_nan: NaN elements; None: there are none.
        n_inf: Infinite elements; None: there are none.
        n_saturated_entries: Entries whose derivative is below 0.06.
        unit_highs: Largest element per unit, shape (n_units,).
        unit_lows: Smallest element per unit, shape (n_units,); only where a negative output
            is activity too.
        unit_squares: Sum over positions of the squared tanh-like output, shape (n_units,).
        feature_means: Mean per feature, shape (n_features,).
        feature_variances: Population variance per feature, shape (n_features,).
        classes: Predicted or target classes, shape (n_rows,).
        log_partition: Mean logsumexp of the logits.
        row_sum_error: Largest |row sum - 1| of what was passed to a class loss as probabilities.
        head_entropies: Sum over query rows of the attention entropy over ln(valid keys), shape
            (n_heads,).
        head_rows: Rows with at least two valid keys, shape (n_heads,).
        n_touched: Rows of an embedding that were read.
        bn_updates: Batches that a normalisation layer counted since it was last observed.
        row_means: Mean over rows of the output with rows of length one, shape (n_units,).
        row_variances: Population variance of the same, shape (n_units,).
        target_corr: Largest |correlation| of an input feature with the target.
        step_norms: L2 norm of each time step, shape (min(n_steps, 4096),).
    """

    sum: T | None = None
    norm: T | None = None
    low: T | None = None
    high: T | None = None
    n_nonzero: T | None = None
    n_nan: T | None = None
    n_inf: T | None = None
    n_saturated_entries: T | None = None
    unit_highs: T | None = None
    unit_lows: T | None = None
    unit_squares: T | None = None
    feature_means: T | None = None
    feature_variances: T | None = None
    classes: T | None = None
    log_partition: T | None = None
    row_sum_error: T | None = None
    head_entropies: T | None = None
    head_rows: T | None = None
    n_touched: T | None = None
    bn_updates: T | None = None
    row_means: T | None = None
    row_variances: T | None = None
    target_corr: T | None = None
    step_norms: T | None = None


@dataclass(slots=True, kw_only=True)
class Observation(Generic[T]):
    """What was measured at one site in one call of a module."""

    label: Label
    measures: Measures[T]
