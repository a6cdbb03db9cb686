"""Parts of an input that are explained as one: cells of an image, tokens, columns of a table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.examples import ExampleSet, Modality

DEFAULT_CELLS = 6  # a side
IMAGE_DIMENSIONS = 3

Box = tuple[int, int, int, int]  # y0, x0, y1, x1; the ends excluded

_GRID = re.compile(r"grid:(\d{1,3})x(\d{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """A partition of an input.

    Attributes:
        labels: Segment of each element, int64, of the input's shape.
        names: Of the segments.
        boxes: Where they lie in an image; empty for other inputs.
    """

    labels: Tensor
    names: tuple[str, ...]
    boxes: tuple[Box, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def totals(self, values: Tensor) -> Tensor:
        """Sum over each segment of values of the input's shape, shape (n_segments,)."""
        sums = torch.zeros(len(self), dtype=values.dtype)
        return sums.index_add(0, self.labels.flatten(), values.flatten())

    def spread(self, per_segment: Tensor) -> Tensor:
        """Values of segments given to each of their elements, in equal parts."""
        counts = self.totals(torch.ones_like(self.labels, dtype=per_segment.dtype))
        return (per_segment / counts)[self.labels]

    def mixed(self, kept: Tensor, values: Tensor, baseline: Tensor) -> Tensor:
        """Inputs that keep some segments and take the others from a baseline.

        Args:
            kept: Shape (n, n_segments), bool.
            values: The input.
            baseline: Of the same shape.

        Returns:
            Shape (n, *input).
        """
        return torch.where(kept[:, self.labels], values, baseline)


def segments_of(values: Tensor, examples: ExampleSet, how: str | None = None) -> Segments:
    """The partition of an input that a text asks for, or that fits what it is.

    Args:
        values: The input.
        examples: Its data set, which knows names of columns and tokens.
        how: `grid:6x6` of an image, `token`, `feature`; None: as the modality asks.

    Raises:
        UsageError: the text is none of these, or does not fit the input.
    """
    modality = examples.modality
    if how is None:
        how = f"grid:{DEFAULT_CELLS}x{DEFAULT_CELLS}" if modality is Modality.IMAGE else "feature"
    grid = _GRID.fullmatch(how)
    if grid is not None:
        return _grid(values, int(grid[1]), int(grid[2]))
    if how not in {"token", "feature"}:
        raise UsageError(f"--segments {how}: say grid:6x6, token or feature.")
    if values.dim() != 1:
        raise UsageError(
            f"--segments {how}: the input has shape {tuple(values.shape)}, not one row; say "
            "grid:6x6."
        )
    names = examples.element_names(values)
    return Segments(labels=torch.arange(values.numel()), names=tuple(names))


def _grid(values: Tensor, rows: int, columns: int) -> Segments:
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"--segments grid:{rows}x{columns}: the input has shape {tuple(values.shape)}, "
            "expected channels x height x width."
        )
    height, width = values.shape[1:]
    if not (0 < rows <= height and 0 < columns <= width):
        raise UsageError(
            f"--segments grid:{rows}x{columns}: an image of {height}x{width} has no such cells."
        )
    y = torch.div(torch.arange(height) * rows, height, rounding_mode="floor")
    x = torch.div(torch.arange(width) * columns, width, rounding_mode="floor")
    cells = y[:, None] * columns + x[None, :]
    ys, xs = _edges(y, rows), _edges(x, columns)
    places = [(r, c) for r in range(rows) for c in range(columns)]
    return Segments(
        labels=cells.expand(values.shape).contiguous(),
        names=tuple(f"r{r}c{c}" for r, c in places),
        boxes=tuple((ys[r], xs[c], ys[r + 1], xs[c + 1]) for r, c in places),
    )


def _edges(cells: Tensor, count: int) -> Sequence[int]:
    starts = torch.searchsorted(cells, torch.arange(count + 1))
    return [int(start) for start in starts]
