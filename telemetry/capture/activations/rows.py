"""Observations of modules on their way to the writer, and the rows of `module_stats` they become.

The training thread makes the packet; the writer thread asks it for its rows: calls of a site
merged, death and saturation judged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from telemetry.capture.activations.records import PROBE, TRAIN, Label, Measures, Observation
from telemetry.capture.activations.statistics import n_spread_rows
from telemetry.capture.catalogue.catalogue import hash_id
from telemetry.capture.parameters.rows import truncated
from telemetry.capture.parameters.statistics.dead_bitmap import DeadUnits, DeadWindows
from telemetry.capture.tensors.host import PackedTensors
from telemetry.format.tables import table

FIRED_RMS_SHARE = 1e-3  # |out| of a smooth activation that counts as activity
PEAKED_ENTROPY = (
    0.05  # normalised entropy of a head that attends to one key, as in attention_logits
)
SATURATED_UNIT_SLOPE = 0.05  # mean derivative of a saturated unit, as in saturated_units

NAMES = Measures._fields
LABEL_BYTES = 512  # a label and its place in the pack

FloatArray: TypeAlias = npt.NDArray[np.float64]
Group: TypeAlias = list[Observation[FloatArray]]
Column: TypeAlias = Sequence[object] | FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePacket:
    """Observations of settled forwards; a `Packet`.

    `windows` is shared by the packets of one run, whose rows are made in order on one thread.
    """

    labels: tuple[Label, ...]
    names: tuple[tuple[str, ...], ...]
    packed: PackedTensors
    windows: DeadWindows

    @classmethod
    def of(
        cls, observations: Sequence[Observation[Tensor]], windows: DeadWindows
    ) -> "ModulePacket":
        """The packet of at least one observation, whose small tensors it joins into few."""
        present = [
            [
                (name, tensor)
                for name, tensor in zip(NAMES, o.measures, strict=True)
                if tensor is not None
            ]
            for o in observations
        ]
        return cls(
            labels=tuple(observation.label for observation in observations),
            names=tuple(tuple(name for name, _ in values) for values in present),
            packed=PackedTensors([v for values in present for _, v in values if v is not None]),
            windows=windows,
        )

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        return self.packed.n_bytes + LABEL_BYTES * len(self.labels)

    @property
    def companions(self) -> object:
        """Those that share their windows may be joined."""
        return id(self.windows)

    @property
    def last_step(self) -> int:
        """The last of its forwards."""
        return max(label.forward.step for label in self.labels)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `module_stats`, one per step, phase, module and site; waits for the device."""
        return self.rows_of([self])

    @staticmethod
    def rows_of(packets: "Sequence[ModulePacket]") -> Iterator[tuple[str, pa.Table]]:
        """The rows of several packets of one model, in their order; faster than one by one."""
        observations = [each for packet in packets for each in packet.on_host()]
        yield "module_stats", _module_table(observations, packets[0].windows)

    def on_host(self) -> Iterator[Observation[FloatArray]]:
        """The observations as arrays; waits for the device."""
        arrays = iter(self.packed.arrays())
        for label, names in zip(self.labels, self.names, strict=True):
            measures = {name: np.asarray(next(arrays), np.float64) for name in names}
            yield Observation(label=label, measures=Measures(**measures))


def _module_table(
    observations: Sequence[Observation[FloatArray]], windows: DeadWindows
) -> pa.Table:
    """One row per step, phase, module and site, calls merged; without the column `attempt`.

    Args:
        observations: In the order in which they were made, at least one.
        windows: Running windows of dead units; training rows are merged into them.
    """
    groups: dict[tuple[int, str | None, str, str], Group] = {}
    for observation in observations:
        groups.setdefault(observation.label.key, []).append(observation)
    rows = list(groups.values())
    last = [group[-1].label for group in rows]
    columns: dict[str, Column] = {
        "step": [label.forward.step for label in last],
        "module_id": [hash_id(label.path) for label in last],
        "site": [label.site for label in last],
        "phase": [label.forward.phase for label in last],
        "training": [label.training for label in last],
        "dtype": [label.dtype for label in last],
        "loss_op": [label.loss_op for label in last],
        "n_units": [label.n_units for label in last],
        "n_saturated": [_n_saturated(group) for group in rows],
        **_Merged(rows).columns(),
        **_profile_columns(rows),
        **_entropy_columns(rows),
        **_spread_columns(rows),
    }
    # Last: rows that could not be made do not count in the windows, should they be made again.
    columns |= _dead_columns(rows, windows)
    schema = table("module_stats").arrow_schema()
    schema = schema.remove(schema.get_field_index("attempt"))
    arrays = [_arrow(columns.get(field.name), field.type, len(rows)) for field in schema]
    return pa.table(arrays, schema=schema)


class _Merged:
    """Scalar measures of all observations as arrays, reduced over the members of each row."""

    def __init__(self, rows: Sequence[Group]) -> None:
        self._flat = [observation for group in rows for observation in group]
        lengths = [len(group) for group in rows]
        self._starts = np.cumsum([0, *lengths[:-1]])
        self._lengths = np.array(lengths, dtype=np.float64)

    def columns(self) -> dict[str, Column]:
        """Columns that add up or are extremes, NaN for NULL."""
        n = self._reduced(np.add, self._array(lambda o: float(o.label.n)))
        n_nan = self._total("n_nan", missing=0.0)
        n_inf = self._total("n_inf", missing=0.0)
        some_finite = n_nan + n_inf < n
        low = self._extreme(np.fmin, self._array(_low))
        high = self._extreme(np.fmax, self._array(_high))
        squares = self._array(lambda o: _scalar(o.measures.norm) ** 2)
        return {
            "n": n,
            "sum": np.where(some_finite, self._total("sum"), np.nan),
            "sumsq": truncated(np.where(some_finite, self._reduced(np.add, squares), np.nan)),
            "min": low,
            "max": high,
            "absmax": np.maximum(high, -low),
            "n_zero": n - n_nan - self._total("n_nonzero"),  # the sign of NaN is 0
            "n_nan": n_nan,
            "n_inf": n_inf,
            "n_saturated_entries": self._total("n_saturated_entries"),
            "log_partition": self._total("log_partition") / self._lengths,
            "row_sum_error": self._extreme(np.fmax, self._named("row_sum_error")),
            "target_corr": self._extreme(np.fmax, self._named("target_corr")),
            "n_touched": self._extreme(np.fmax, self._named("n_touched")),
            "bn_updates": self._total("bn_updates"),
        }

    def _array(self, value: Callable[[Observation[FloatArray]], float]) -> FloatArray:
        return np.array([value(observation) for observation in self._flat], dtype=np.float64)

    def _named(self, name: str) -> FloatArray:
        return self._array(lambda o: _scalar(getattr(o.measures, name)))

    def _reduced(self, operation: np.ufunc, values: FloatArray) -> FloatArray:
        return np.asarray(operation.reduceat(values, self._starts), dtype=np.float64)

    def _total(self, name: str, *, missing: float = np.nan) -> FloatArray:
        values = self._named(name)
        return self._reduced(np.add, np.where(np.isnan(values), missing, values))

    def _extreme(self, operation: np.ufunc, values: FloatArray) -> FloatArray:
        # Not finite where no element is, or where the device could not be asked: unknown.
        reduced = self._reduced(operation, values)
        return np.where(np.isfinite(reduced), reduced, np.nan)


def _low(observation: Observation[FloatArray]) -> float:
    """Smallest element; of a ReLU it is zero where any unit is at rest, else unknown."""
    measures = observation.measures
    if measures.low is not None:
        return float(measures.low[0])
    if measures.unit_lows is not None:
        return float(measures.unit_lows.min())
    is_at_rest = measures.n_nonzero is not None and measures.n_nonzero[0] < observation.label.n
    return 0.0 if is_at_rest else np.nan


def _high(observation: Observation[FloatArray]) -> float:
    """Largest element."""
    measures = observation.measures
    if measures.high is not None:
        return float(measures.high[0])
    return np.nan if measures.unit_highs is None else float(measures.unit_highs.max())


def _dead_columns(rows: Sequence[Group], windows: DeadWindows) -> dict[str, Column]:
    units = [_dead_units(group, windows) for group in rows]
    return {
        "n_dead": [None if unit is None else unit.n_dead for unit in units],
        "window_samples": [None if unit is None else unit.window_samples for unit in units],
        "dead": [None if unit is None else unit.bitmap for unit in units],
    }


def _dead_units(group: Group, windows: DeadWindows) -> DeadUnits | None:
    label = group[0].label
    fired = _same_shape([_fired(observation) for observation in group])
    if not fired or label.forward.phase not in {TRAIN, PROBE}:
        return None
    n_positions = sum(observation.label.n_positions for observation in group)
    if label.forward.phase == PROBE:  # the next sample sees the same batch
        return DeadUnits(dead=np.max(fired, axis=0) == 0, window_samples=n_positions)
    return windows.add((label.path, label.site), np.any(fired, axis=0), n_positions)


def _fired(observation: Observation[FloatArray]) -> FloatArray | None:
    """1 for units that were active at any position; a unit of NaN is broken, not dead."""
    highs, lows = observation.measures.unit_highs, observation.measures.unit_lows
    if highs is None:
        return None
    limit = 0.0
    if lows is not None:
        highs = np.maximum(highs, -lows)
        limit = FIRED_RMS_SHARE * _scalar(observation.measures.norm) / observation.label.n**0.5
    return np.where(highs <= limit, 0.0, 1.0)


def _n_saturated(group: Group) -> int | None:
    squares = _same_shape([observation.measures.unit_squares for observation in group])
    if not squares:
        return None
    n_positions = sum(observation.label.n_positions for observation in group)
    slopes = 1 - np.sum(squares, axis=0) / n_positions
    return int((slopes < SATURATED_UNIT_SLOPE).sum())


def _profile_columns(rows: Sequence[Group]) -> dict[str, Column]:
    profiles = [_profile(group) for group in rows]
    lengths = [max(o.label.n_steps or 0 for o in group) for group in rows]
    return {
        "n_profile": [
            None if profile is None else max(length, len(profile))
            for profile, length in zip(profiles, lengths, strict=True)
        ],
        "profile": [
            None if profile is None else profile.astype("<f4").tobytes() for profile in profiles
        ],
    }


def _profile(group: Group) -> FloatArray | None:
    """Class counts, norms per time step, or the deviation of each feature over all calls."""
    if group[0].label.site.endswith("_grad"):
        return _step_norms(group)
    counts = [_class_counts(o) for o in group if o.measures.classes is not None]
    if counts:
        return np.asarray(np.sum(_same_shape(counts), axis=0))
    calls = [observation for observation in group if observation.measures.feature_means is not None]
    means = _same_shape([observation.measures.feature_means for observation in calls])
    variances = _same_shape([observation.measures.feature_variances for observation in calls])
    if not means:
        return None
    if len(means) == len(calls):
        weights = np.array([observation.label.n_positions for observation in calls])
    else:
        means, variances, weights = means[:1], variances[:1], np.ones(1)
    with np.errstate(invalid="ignore", over="ignore"):  # inputs may be infinite: NaN says so
        mean = np.average(means, axis=0, weights=weights)
        between = [(own - mean) ** 2 for own in means]
        within = np.average(variances, axis=0, weights=weights)
        return np.asarray(np.sqrt(within + np.average(between, axis=0, weights=weights)))


def _step_norms(group: Group) -> FloatArray | None:
    """L2 norm per time step: within the tensors, or of the calls of one forward in their order."""
    steps = _same_shape([observation.measures.step_norms for observation in group])
    if steps:
        return np.asarray(np.sqrt(np.sum(np.square(steps), axis=0)))
    calls = [observation.label.call for observation in group]
    if max(calls) == 0:
        return None
    squares = np.zeros(max(calls) + 1)
    np.add.at(squares, calls, [_scalar(observation.measures.norm) ** 2 for observation in group])
    return np.asarray(np.sqrt(squares))


def _class_counts(observation: Observation[FloatArray]) -> FloatArray:
    """How often each class occurs, shape (n_units,)."""
    label = observation.label
    n_classes = label.n_units or 0
    classes = np.asarray(observation.measures.classes).astype(np.int64)
    valid = (classes >= 0) & (classes < n_classes) & (classes != label.ignored_class)
    return np.bincount(classes[valid], minlength=n_classes).astype(np.float64)


def _spread_columns(rows: Sequence[Group]) -> dict[str, Column]:
    """Mean cosine of two rows, and sqrt(d) times the mean deviation of a unit; of all calls."""
    spreads = [_spread(group) for group in rows]
    return {
        "pair_cosine": np.array([cosine for cosine, _ in spreads]),
        "unit_spread": np.array([spread for _, spread in spreads]),
    }


def _spread(group: Group) -> tuple[float, float]:
    """NaN where nothing is known."""
    calls = [o for o in group if o.measures.row_means is not None]
    means = _same_shape([o.measures.row_means for o in calls])
    variances = _same_shape([o.measures.row_variances for o in calls])
    if not means:
        return np.nan, np.nan
    # Rows of different calls are not compared: the batches may differ in what they are.
    n_rows = n_spread_rows(calls[0].label.n // means[0].size)
    total = np.mean([variance.sum() for variance in variances])
    cosine = np.mean([np.square(mean).sum() for mean in means]) - total / (n_rows - 1)
    deviations = np.mean(np.sqrt(variances), axis=0)
    return float(cosine), float(np.sqrt(deviations.size) * deviations.mean())


def _entropy_columns(rows: Sequence[Group]) -> dict[str, Column]:
    """Mean over heads, and the share of heads that attend to one key alone."""
    heads = [_head_entropies(group) for group in rows]
    return {
        "entropy": [None if values is None else values.mean() for values in heads],
        "peaked_share": [
            None if values is None else (values <= PEAKED_ENTROPY).mean() for values in heads
        ],
    }


def _head_entropies(group: Group) -> FloatArray | None:
    """Mean entropy of the rows of each head that has rows, over all calls."""
    entropies = _same_shape([observation.measures.head_entropies for observation in group])
    n_rows = _same_shape([observation.measures.head_rows for observation in group])
    if not entropies:
        return None
    total, count = np.sum(entropies, axis=0), np.sum(n_rows, axis=0)
    known = count > 0
    return np.asarray(total[known] / count[known]) if known.any() else None


def _same_shape(arrays: Sequence[FloatArray | None]) -> list[FloatArray]:
    """What is there and has the shape of the first; a site may change its width."""
    known = [array for array in arrays if array is not None]
    return [array for array in known if array.shape == known[0].shape]


def _scalar(value: FloatArray | None) -> float:
    return np.nan if value is None else float(value[0])


def _arrow(values: Column | None, kind: pa.DataType, n_rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(n_rows, kind)
    if not isinstance(values, np.ndarray):
        return pa.array(values, type=kind)
    missing = np.isnan(values)
    return pa.array(np.where(missing, 0, values).astype(kind.to_pandas_dtype()), mask=missing)
