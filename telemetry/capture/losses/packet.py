"""Losses on their way to the writer, and the rows of `loss_graphs` they become."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from telemetry.capture.losses.chains import Chain
from telemetry.capture.losses.constant_answer import ConstantAnswers, Levels, SplitLoss
from telemetry.capture.losses.heads import Head
from telemetry.capture.losses.padding import padding_of
from telemetry.capture.losses.pairs import Pair
from telemetry.capture.losses.replay import Program
from telemetry.capture.losses.target_column import Table, table_of
from telemetry.capture.packet import host_table
from telemetry.capture.tensors.host import Readiness

Array: TypeAlias = npt.NDArray[np.float64]
MAX_VALUES = 1 << 16  # of an output or a target that are looked at
ROUNDED = 1e-3  # beyond the end of a range: what computing and smoothing leave
ROUNDED_SUM = 0.01  # of bfloat16, summed up
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
    ignored: int | None
    softmax: Head | None
    class_dim: int | None

    @property
    def tensors(self) -> list[Tensor]:
        """All copies."""
        tables = [self.table.inputs, self.table.target] if self.table else []
        labels = [] if self.labels is None else [self.labels]
        return [self.values, self.target, self.output, *labels, *tables]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LossPacket:
    """The loss of one backward pass; a `Packet`.

    `answers` is shared by the packets of one run, whose rows are made in order on one thread;
    `searches` says whether they are asked for the best constant answer.
    """

    step: int
    call: int
    root: Tensor
    pairs: tuple[PairCopy, ...]
    has_single_softmax: bool
    has_detached: bool
    n_outputs: int
    chains: tuple[Chain, ...]
    program: Program | None
    searches: bool
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
        levels, parts = Levels(reason=self.reason), SplitLoss()
        if self.program is not None:
            program = self.program.on_host()
            parts = self.answers.parts(program)
            if self.searches:
                levels = self.answers.levels(program, root)
        common = {
            "step": self.step,
            "call": self.call,
            "single_softmax": self.has_single_softmax,
            "n_outputs": self.n_outputs,
            "chains": "; ".join(f"{each.path}: {' '.join(each.steps)}" for each in self.chains)
            or None,
            "root": root if np.isfinite(root) else None,
            "constant_loss": levels.constant,
            "naive_loss": levels.naive,
            "any_constant_loss": levels.drawn,
            "right_loss": levels.right and levels.right.right,
            "blank_loss": levels.right and levels.right.blank,
            "has_detached": self.has_detached,
            "reason": levels.reason or None,
            "n_terms": parts.n_terms,
            "target_part": parts.of_targets,
            "free_part": parts.free,
            "penalty_part": parts.penalties,
            "target_part_constant": parts.constant,
        }
        rows = [
            {**common, "pair": place, **each.pair, **_facts(each)}
            for place, each in enumerate(self.pairs)
        ]
        yield "loss_graphs", host_table("loss_graphs", rows or [common])


def copied(pair: Pair, tables: Sequence[Tensor], *, is_sign: bool) -> PairCopy:
    """A pair with copies of values spread over the batch, still on their device.

    Args:
        pair: Of the training.
        tables: Inputs of the model that may hold the target in a column.
        is_sign: Whether the target is used as a sign.
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
            "is_sign": is_sign,
            "misaligned": pair.misaligned,
            "n": pair.output_shape[0],
        },
        head=pair.head.name,
        values=_some(pair.values),
        target=_some(pair.target),
        output=_some(pair.output),
        labels=None if pair.labels is None else _some(pair.labels),
        table=next((t for t in (table_of(each, pair.target) for each in tables) if t), None),
        ignored=pair.ignored,
        softmax=pair.softmax,
        class_dim=pair.class_dim,
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
    labels = None if each.labels is None else _array(each.labels)
    padding = padding_of(target if labels is None else labels, ignored=each.ignored)
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
        "label_min": None if labels is None else _smallest(labels),
        "label_max": None if labels is None else _largest(labels),
        "ignored_share": None if each.ignored is None else float((target == each.ignored).mean()),
        "padding_index": padding and padding.index,
        "padding_share": padding and padding.share,
        "input_column": None if each.table is None else each.table.column(),
        "is_other_axis": each.softmax and _is_other_axis(each.softmax, each, target),
        "unequal_rows_share": each.softmax and _unequal_rows(each.softmax, each, target),
        "n_distinct": int(np.unique(target).size),
        "whole_targets": bool((target == np.round(target)).all()),
        "one_hot_targets": _is_one_hot(target),
        "excluded_share": float(excluded.mean()) if each.head in RANGES else None,
    }


def _is_other_axis(softmax: Head, each: PairCopy, target: Array) -> bool | None:
    """Whether shares add up over another dimension than classes; None where that is not known."""
    shape = each.values.shape
    if each.class_dim is not None:
        return softmax.dim != each.class_dim and softmax.units != shape[each.class_dim]
    if target.shape != shape or target.ndim < 2 or not (target >= 0).all():  # noqa: PLR2004
        return None
    add_up = [bool(np.allclose(target.sum(dim), 1, atol=ROUNDED)) for dim in range(target.ndim)]
    return any(add_up) and not add_up[softmax.dim]


def _unequal_rows(softmax: Head, each: PairCopy, target: Array) -> float | None:
    """Share of the targets that do not add up to 1 where the softmax does; rows of 0 are empty."""
    if target.shape != each.values.shape:
        return None
    sums = target.sum(softmax.dim)
    return float(((np.abs(sums - 1) > ROUNDED_SUM) & (np.abs(sums) > ROUNDED_SUM)).mean())


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
