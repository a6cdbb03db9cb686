"""What outputs and targets met on the way to a loss, as `loss_graphs` has it, in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.store.sessions.rows import Rows

LOSS_FUNCTIONS = {
    "nll_loss_forward": "nll_loss",
    "nll_loss2d_forward": "nll_loss",
    "rsub": "a difference",
    "sub": "a difference",
    "gather": "an index",
    "index": "an index",
    "mul": "a product",
}
NOT_FOLLOWED = "no loss was followed from what the model returned to a target"


class Measure(NamedTuple):
    """What a finding on a pair is judged by."""

    value: float
    limit: float | None
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPair:
    """An output and a target that meet in the same way step after step.

    Attributes:
        path: Of the module that returned the output; '' for the model.
        operation: In which they meet.
        head: Last operation before.
        is_output: The output itself meets the target, at most reshaped or through the head.
        is_made: The loss made the target.
        output_shape: Sizes of the output, at the last of the steps.
        target_shape: Sizes of the target.
        rows: What was recorded, ascending by step.
    """

    path: str
    operation: str
    head: str
    is_output: bool
    is_made: bool
    output_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    rows: Rows

    @property
    def steps(self) -> IntArray:
        """Optimizer steps, ascending; several backward passes of a step repeat it."""
        return self.rows.ints("step")

    @property
    def function(self) -> str:
        """Where they meet, in words."""
        return LOSS_FUNCTIONS.get(self.operation, self.operation)

    @property
    def layer(self) -> str | None:
        """The module, None for the model."""
        return self.path or None

    @property
    def subject(self) -> str:
        """Whose output it is, in words."""
        return f"the output of {self.path or 'the model'}"

    def numbers(self, column: str) -> FloatArray:
        """A column, shape (n_rows,)."""
        return self.rows.floats(column)

    def holds(self, column: str) -> BoolArray:
        """A column of truths that were cast to integers."""
        return self.rows.ints(column) > 0


def loss_pairs(rows: Rows) -> list[LossPair]:
    """Pairs of the same module, operation and head; those that were seen most often first.

    Args:
        rows: Of `loss_graphs`, by step: at least step, layer, operation, head, is_output, is_made,
            output_shape and target_shape. Rows without a pair are left out.
    """
    keys = list(
        zip(
            rows.texts("layer"),
            rows.texts("operation"),
            rows.texts("head"),
            rows.ints("is_output").tolist(),
            rows.ints("is_made").tolist(),
            strict=True,
        )
    )
    order = {key: keys.count(key) for key in keys if key[1]}
    return [_pair(key, rows, keys) for key in sorted(order, key=lambda key: -order[key])]


def _pair(key: tuple[str, str, str, int, int], rows: Rows, keys: Sequence[object]) -> LossPair:
    path, operation, head, is_output, is_made = key
    own = Rows(rows.arrow.filter(pa.array([each == key for each in keys], pa.bool_())))
    return LossPair(
        path=path,
        operation=operation,
        head=head,
        is_output=bool(is_output),
        is_made=bool(is_made),
        output_shape=_sizes(own.texts("output_shape")[-1]),
        target_shape=_sizes(own.texts("target_shape")[-1]),
        rows=own,
    )


def shape_in_words(sizes: Sequence[int]) -> str:
    """As Python prints it, such as (64, 1) or (64,)."""
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


def _sizes(shape: str) -> tuple[int, ...]:
    return tuple(int(size) for size in shape.split("x") if size)
