"""Parts of an input that are explained as one: cells of an image, tokens, columns of a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, ExampleSet, Modality
from telemetry.explain.inputs.masks import Box
from telemetry.explain.inputs.superpixels import superpixels

DEFAULT_CELLS = 6  # a side
SIGNAL_DIMENSIONS = 2  # channels x length
MOST_CELLS, MOST_STRETCHES = 50, 16  # of a signal

_GRID = re.compile(r"grid:(\d{1,3})x(\d{1,3})")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """A partition of an input.

    Attributes:
        labels: Segment of each element, int64, of the input's shape.
        names: Of the segments.
        boxes: Where they lie in an image; empty for other inputs.
        how: What asks for the same partition, such as `grid:6x6`.
        note: What a reader must know of them.
        is_grid: Whether they are cells of one size, but for a pixel, side by side.
    """

    labels: Tensor
    names: tuple[str, ...]
    how: str
    boxes: tuple[Box, ...] = ()
    note: str = ""
    is_grid: bool = False

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


def segments_of(
    values: Tensor, examples: ExampleSet, how: str | None = None, most: int | None = None
) -> Segments:
    """The partition of an input that a text asks for, or that fits what it is.

    Args:
        values: The input.
        examples: Its data set, which knows names of columns and tokens.
        how: `grid:6x6` or `felzenszwalb` of an image, `token`, `feature`; None: as the modality
            asks.
        most: How many parts the method can tell apart; a text that is left to the modality is
            merged into as many phrases.

    Raises:
        UsageError: the text is none of these, does not fit the input, or there are too many parts.
    """
    found = _found(values, examples, how, most)
    if most is None or len(found) <= most:
        return found
    if how is None and examples.modality is Modality.TEXT:
        return _phrases(found, examples.tokens(values), most)
    advice = "use grid:6x6" if found.boxes else "use --method ig or occlusion"
    if examples.modality is Modality.TABULAR:
        advice += ", or group columns with `categorical` of the data set"
    raise UsageError(
        f"{len(found)} parts are too many for lime and kernelshap, which can separate {most}; "
        f"{advice}."
    )


def _found(values: Tensor, examples: ExampleSet, how: str | None, most: int | None) -> Segments:
    is_image = values.dim() == IMAGE_DIMENSIONS
    if how is None and is_image:
        rows, columns = (min(DEFAULT_CELLS, side) for side in values.shape[1:])
        return _grid(values, rows, columns)
    if how is None and values.dim() == SIGNAL_DIMENSIONS:
        rows = min(DEFAULT_CELLS, values.shape[0])
        return _signal(values, rows, min(MOST_CELLS // rows, MOST_STRETCHES, values.shape[1]))
    how = how or ("token" if examples.modality is Modality.TEXT else "feature")
    grid = _GRID.fullmatch(how)
    if grid is not None:
        made = _signal if values.dim() == SIGNAL_DIMENSIONS else _grid
        return made(values, int(grid[1]), int(grid[2]))
    if how == "felzenszwalb":
        labels, boxes = superpixels(values, most)
        names = tuple(f"region{number}" for number in range(len(boxes)))
        return Segments(labels=labels, names=names, how=how, boxes=boxes)
    if how not in {"token", "feature"}:
        raise UsageError(f"--segments {how}: choose grid:6x6, felzenszwalb, token or feature.")
    if values.dim() != 1:
        advice = (
            "use grid:6x6"
            if values.dim() in {SIGNAL_DIMENSIONS, IMAGE_DIMENSIONS}
            else "pass rows or images, and a --model that reshapes them"
        )
        raise UsageError(
            f"--segments {how}: the input has shape {tuple(values.shape)}, not one row; {advice}."
        )
    return _row(examples.element_names(values), examples.categorical, how)


def _row(names: Sequence[str], groups: Mapping[str, Sequence[int]], how: str) -> Segments:
    """One part a column, and one for the columns of a group, where its first one stands.

    Raises:
        UsageError: a group has a column that the input lacks.
    """
    first = {min(columns): (name, columns) for name, columns in groups.items()}
    taken = {column for columns in groups.values() for column in columns}
    if max(taken, default=0) >= len(names):
        raise UsageError(f"categorical names column {max(taken)}, and the input has {len(names)}.")
    labels = torch.zeros(len(names), dtype=torch.int64)
    found: list[str] = []
    for column, name in enumerate(names):
        if column in first:
            group, columns = first[column]
            labels[list(columns)] = len(found)
            found.append(group)
        elif column not in taken:
            labels[column] = len(found)
            found.append(name)
    return Segments(labels=labels, names=tuple(found), how=how)


def _phrases(tokens: Segments, words: Sequence[str], most: int) -> Segments:
    """Neighbouring tokens as one part, of equal lengths as far as possible."""
    n = len(tokens)
    size = -(-n // most)
    starts = range(0, n, size)
    names = [
        f"{start}-{min(start + size, n) - 1}:{' '.join(words[start : start + size])}"
        for start in starts
    ]
    return Segments(
        labels=torch.div(torch.arange(n), size, rounding_mode="floor"),
        names=tuple(names),
        how=f"phrases of {size}",
        note=f"{n} tokens are joined into {len(names)} phrases of {size} because the method can "
        f"separate {most} parts",
    )


def _signal(values: Tensor, rows: int, columns: int) -> Segments:
    """Stretches of the channels of a signal, each called by its channels and its samples."""
    n_channels, length = values.shape
    if not (0 < rows <= n_channels and 0 < columns <= length):
        raise UsageError(
            f"--segments grid:{rows}x{columns}: a signal of {n_channels} channels and {length} "
            "samples has no such cells."
        )
    y = torch.div(torch.arange(n_channels) * rows, n_channels, rounding_mode="floor")
    x = torch.div(torch.arange(length) * columns, length, rounding_mode="floor")
    ys, xs = _edges(y, rows), _edges(x, columns)
    return Segments(
        labels=y[:, None] * columns + x[None, :],
        names=tuple(
            f"channel {_span(ys[r], ys[r + 1])}, samples {_span(xs[c], xs[c + 1])}"
            for r in range(rows)
            for c in range(columns)
        ),
        how=f"grid:{rows}x{columns}",
    )


def _span(start: int, end: int) -> str:
    return str(start) if end == start + 1 else f"{start}-{end - 1}"


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
        how=f"grid:{rows}x{columns}",
        boxes=tuple((ys[r], xs[c], ys[r + 1], xs[c + 1]) for r, c in places),
        is_grid=True,
    )


def _edges(cells: Tensor, count: int) -> Sequence[int]:
    starts = torch.searchsorted(cells, torch.arange(count + 1))
    return [int(start) for start in starts]
