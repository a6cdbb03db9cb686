"""Parts of an input that are explained as one: cells of an image, tokens, columns of a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, ExampleSet, Modality
from telemetry.explain.inputs.masks import Box
from telemetry.explain.inputs.padding import need_text
from telemetry.explain.inputs.several import InputPart, SeveralInputs
from telemetry.explain.inputs.superpixels import superpixels

DEFAULT_CELLS = 6  # a side
OUTSIDE = -1  # label of what belongs to no part
SIGNAL_DIMENSIONS = 2  # channels x length
MOST_CELLS, MOST_STRETCHES = 50, 16  # of a signal

_GRID = re.compile(r"grid:(\d{1,3})x(\d{1,3})")
_PHRASE = re.compile(r"phrase:([1-9]\d{0,2})")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """A partition of an input, or of what may be changed of it.

    Attributes:
        labels: Segment of each element, int64, of the input's shape; `OUTSIDE`: of none, as the
            padding of a text, which always stays.
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
        inside = self.labels != OUTSIDE
        sums = torch.zeros(len(self), dtype=values.dtype)
        return sums.index_add(0, self.labels[inside], values[inside])

    def given(self, per_segment: Tensor) -> Tensor:
        """The value of each element's segment, of the input's shape; zero where it has none."""
        values = per_segment[self.labels.clamp_min(0)]
        return torch.where(self.labels == OUTSIDE, torch.zeros_like(values), values)

    def spread(self, per_segment: Tensor) -> Tensor:
        """Values of segments given to each of their elements, in equal parts."""
        counts = self.totals(torch.ones_like(self.labels, dtype=per_segment.dtype))
        return self.given(per_segment / counts)

    def mixed(self, kept: Tensor, values: Tensor, baseline: Tensor) -> Tensor:
        """Inputs that keep some segments and take the others from a baseline.

        Args:
            kept: Shape (n, n_segments), bool.
            values: The input.
            baseline: Of the same shape.

        Returns:
            Shape (n, *input).
        """
        stays = kept[:, self.labels.clamp_min(0)] | (self.labels == OUTSIDE)
        return torch.where(stays, values, baseline)


def segments_of(
    values: Tensor, examples: ExampleSet, how: str | None = None, most: int | None = None
) -> Segments:
    """The partition of an input that a text asks for, or that fits what it is.

    Args:
        values: The input.
        examples: Its data set, which knows names of columns and tokens.
        how: `grid:6x6` or `felzenszwalb` of an image, `token`, `phrase:3`, `feature`; None: as
            the modality asks.
        most: How many parts the method can tell apart; a text that is left to the modality is
            merged into as many phrases.

    Raises:
        UsageError: the text is none of these, does not fit the input, or there are too many parts.
    """
    found = _found(values, examples, how, most)
    if most is None or len(found) <= most:
        return found
    if how is None and examples.modality is Modality.TEXT:
        size = -(-len(found) // most)
        phrases = _phrases(found, examples.tokens(values), size)
        note = (
            f"{len(found)} tokens are joined into {len(phrases)} phrases of {size} because the "
            f"method can separate {most} parts"
        )
        return replace(phrases, how=f"phrases of {size}", note=note)
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
    if _PHRASE.fullmatch(how) is None and how not in {"token", "feature"}:
        raise UsageError(
            f"--segments {how}: choose grid:6x6, felzenszwalb, token, phrase:3 or feature."
        )
    if values.dim() != 1:
        advice = (
            "use grid:6x6"
            if values.dim() in {SIGNAL_DIMENSIONS, IMAGE_DIMENSIONS}
            else "pass rows or images, and a --model that reshapes them"
        )
        raise UsageError(
            f"--segments {how}: the input has shape {tuple(values.shape)}, not one row; {advice}."
        )
    return _of_row(values, examples, how)


def _of_row(values: Tensor, examples: ExampleSet, how: str) -> Segments:
    """Tokens or phrases of a text, columns of a table.

    Raises:
        UsageError: a table has no phrases, or a text no word.
    """
    phrase = _PHRASE.fullmatch(how)
    if examples.modality is Modality.TEXT:
        tokens = _tokens(values, examples)
        words = examples.tokens(values)
        return tokens if phrase is None else _phrases(tokens, words, int(phrase[1]))
    if phrase is not None:
        raise UsageError(f"--segments {how}: only texts have phrases; use feature.")
    if examples.several is not None:
        return _of_several(examples.several, examples)
    return _row(examples.element_names(values), examples.categorical, how)


def _of_several(several: SeveralInputs, examples: ExampleSet) -> Segments:
    """The parts of each of several inputs, called by its name and theirs."""
    labels: list[Tensor] = []
    names: list[str] = []
    for part in several.parts:
        inner = _inner(part, examples)
        labels.append(inner.labels.flatten() + len(names))
        names += [f"{part.name} {name}" for name in inner.names]
    return Segments(labels=torch.cat(labels), names=tuple(names), how="feature")


def _inner(part: InputPart, examples: ExampleSet) -> Segments:
    values = torch.zeros(part.shape)
    if values.dim() in {SIGNAL_DIMENSIONS, IMAGE_DIMENSIONS}:
        return _found(values, examples, None, None)
    names = examples.column_names(part.name) or [str(place) for place in range(values.numel())]
    if len(names) != values.numel():
        raise UsageError(
            f"data set {examples.name}: feature_names of {part.name} has {len(names)} names for "
            f"{values.numel()} numbers."
        )
    return _row(names, {}, "feature")


def _tokens(values: Tensor, examples: ExampleSet) -> Segments:
    """One part a token that somebody wrote: padding and special tokens are none.

    Raises:
        UsageError: there is no such token.
    """
    written = examples.padding.is_text(values)
    need_text(written, "the input")
    names = examples.element_names(values)
    return Segments(
        labels=torch.where(written, written.cumsum(0) - 1, OUTSIDE),
        names=tuple(name for name, own in zip(names, written.tolist(), strict=True) if own),
        how="token",
    )


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


def _phrases(tokens: Segments, words: Sequence[str], size: int) -> Segments:
    """Neighbouring tokens as one part."""
    places = (tokens.labels != OUTSIDE).nonzero().flatten().tolist()
    groups = [places[start : start + size] for start in range(0, len(places), size)]
    labels = torch.where(tokens.labels == OUTSIDE, OUTSIDE, tokens.labels // size)
    names = [f"{_span(g[0], g[-1] + 1)}:{' '.join(words[place] for place in g)}" for g in groups]
    return Segments(labels=labels, names=tuple(names), how=f"phrase:{size}")


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
