"""Losses on their way to the writer, and the rows of `loss_graphs` they become."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from telemetry.capture.losses.constant_answer import ConstantAnswers, Levels
from telemetry.capture.losses.pairs import Pair
from telemetry.capture.losses.replay import Program
from telemetry.capture.losses.target_column import Table, table_of
from telemetry.capture.packet import host_table
from telemetry.capture.tensors.host import Readiness

Array: TypeAlias = npt.NDArray[np.float64]
MAX_VALUES = 1 << 16  # of an output or a target that are looked at
ROUNDED = 1e-3  # beyond the end of a range: what computing and smoothing leave
RANGES = {
    "log_softmax": (-np.inf, 0.0),
    "relu": (0.0, np.inf),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "softplus": (0.0, np.inf),
    "tanh": (-1.0, 1.0),
}
ROW_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairCopy:
    """A pair with copies of some of its values."""

    pair: Mapping[str, object]
    head: str
    values: Tensor
    target: Tensor
    output: Tensor
    labels: Tensor | None
    table: Table | None

    @property
    def tensors(self) -> list[Tensor]:
        """All copies."""
        tables = [self.table.inputs, self.table.target] if self.table else []
        labels = [] if self.labels is None else [self.labels]
        return [self.values, self.target, self.output, *labels, *tables]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LossPacket:
    """The loss of one backward pass; a `Packet`.

    `answers` is shared by the packets of one run, whose rows are made in order on one thread.
    """

    step: int
    call: int
    root: Tensor
    pairs: tuple[PairCopy, ...]
    has_single_softmax: bool
    n_outputs: int
    program: Program | None
    reason: str
    answers: ConstantAnswers
    ready: Readiness

    @property
    def n_bytes(self) -> int:
        """Memory held until it is written."""
        copies = [copy for each in self.pairs for copy in each.tensors]
        held = sum(copy.numel() * copy.element_size() for copy in copies)
        return ROW_BYTES + held + (4 * self.program.n_elements if self.program else 0)

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """Rows of `loss_graphs`; waits for the device, and searches the best constant."""
        self.ready.wait()
        root = float(self.root.cpu().double().mean())
        levels = Levels(reason=self.reason)
        if self.program is not None:
            levels = self.answers.levels(self.program.on_host(), root)
        common = {
            "step": self.step,
            "call": self.call,
            "single_softmax": self.has_single_softmax,
            "n_outputs": self.n_outputs,
            "root": root if np.isfinite(root) else None,
            "constant_loss": levels.constant,
            "naive_loss": levels.naive,
            "reason": levels.reason or None,
        }
        rows = [
            {**common, "pair": place, **each.pair, **_facts(each)}
            for place, each in enumerate(self.pairs)
        ]
        yield "loss_graphs", host_table("loss_graphs", rows or [common])


def copied(pair: Pair, output: Tensor, tables: Sequence[Tensor]) -> PairCopy:
    """A pair with copies of values spread over the batch, still on their device.

    Args:
        pair: Of the training.
        output: As the model returned it.
        tables: Inputs of the model that may hold the target in a column.
    """
    return PairCopy(
        pair={
            "path": pair.path,
            "operation": pair.operation,
            "head": pair.head.name,
            "output_head": pair.output_head.name,
            "is_output": pair.is_output,
            "output_shape": _shape(pair.output_shape),
            "target_shape": _shape(pair.target_shape),
            "is_broadcast": pair.is_broadcast,
            "is_made": pair.is_made,
            "n": pair.output_shape[0],
        },
        head=pair.head.name,
        values=_some(pair.values),
        target=_some(pair.target),
        output=_some(output),
        labels=None if pair.labels is None else _some(pair.labels),
        table=next((t for t in (table_of(each, pair.target) for each in tables) if t), None),
    )


def _some(values: Tensor) -> Tensor:
    """A copy of rows spread over the first dimension, about 2^16 elements."""
    found = values.detach()
    stride = -(-found.numel() // MAX_VALUES)
    if stride > 1 and found.dim():
        found = found[:: min(stride, found.shape[0])]
    return found.clone()


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "1"


def _facts(each: PairCopy) -> dict[str, object]:
    values, target, output = (_array(t) for t in (each.values, each.target, each.output))
    low, high = RANGES.get(each.head, (-np.inf, np.inf))
    excluded = (target < low - ROUNDED) | (target > high + ROUNDED)
    return {
        "output_min": _smallest(values),
        "output_max": _largest(values),
        "output_spread": _spread(output),
        "target_min": _smallest(target),
        "target_max": _largest(target),
        "target_spread": _spread(target),
        "first_label": _first_label(target),
        "label_min": None if each.labels is None else _smallest(_array(each.labels)),
        "label_max": None if each.labels is None else _largest(_array(each.labels)),
        "input_column": None if each.table is None else each.table.column(),
        "n_distinct": int(np.unique(target).size),
        "whole_targets": bool((target == np.round(target)).all()),
        "one_hot_targets": _is_one_hot(target),
        "excluded_share": float(excluded.mean()) if each.head in RANGES else None,
    }


def _spread(values: Array) -> float | None:
    """The largest difference between two examples in any column."""
    rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    with np.errstate(invalid="ignore"):
        spread = float((rows.max(0) - rows.min(0)).max()) if rows.size else np.nan
    return spread if np.isfinite(spread) else None


def _first_label(target: Array) -> float | None:
    """The number of the first example, or which column of its row is the largest."""
    first = np.ravel(target[0] if target.ndim else target)
    if not first.size or not np.isfinite(first).all():
        return None
    return float(first[0] if first.size == 1 else first.argmax())


def _is_one_hot(target: Array) -> bool:
    """Whether each row holds a single one and zeros: two classes would be a permutation too."""
    if target.ndim < 2 or target.shape[-1] < 3 or not target.size:  # noqa: PLR2004
        return False
    return bool(np.isin(target, (0, 1)).all() and (target.sum(-1) == 1).all())


def _smallest(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else None


def _largest(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else None


def _array(values: Tensor) -> Array:
    host = values.cpu()  # on the writer thread
    return np.asarray(host.double().numpy(), dtype=np.float64)
