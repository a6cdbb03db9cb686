"""Which part of an image a place of a layer sees.

A NaN in an input reaches exactly the answers that depend on it, whatever their weights are: through
convolutions, pooling, ReLUs and attention alike. One row or column at a time, it finds the bounds
of what each place sees in height + width forward passes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.masks import Box
from telemetry.explain.models.layers import IMAGE, Layer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReceptiveFields:
    """What the places of a layer see of an image.

    Attributes:
        shape: Height and width of the image.
        rows: First and last row that each row of places sees, shape (n_rows, 2); None: the layer
            has no places, and each unit sees everything.
        columns: The same of columns.
    """

    shape: tuple[int, int]
    rows: Tensor | None = None
    columns: Tensor | None = None

    def box(self, row: int, column: int) -> Box:
        """What one place sees."""
        if self.rows is None or self.columns is None:
            return 0, 0, *self.shape
        top, bottom = self.rows[row].tolist()
        left, right = self.columns[column].tolist()
        return top, left, bottom + 1, right + 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest box."""
        if self.rows is None or self.columns is None:
            return self.shape
        spans = [int((span[:, 1] - span[:, 0]).max()) + 1 for span in (self.rows, self.columns)]
        return spans[0], spans[1]


def receptive_fields(layer: Layer, image: Tensor, batch: int) -> ReceptiveFields:
    """What the places of a layer see; call it inside `running()`.

    Args:
        layer: The layer.
        image: Any input, shape (channels, height, width).
        batch: Inputs a forward.
    """
    height, width = image.shape[-2:]
    whole = ReceptiveFields(shape=(height, width))
    if not image.is_floating_point():  # whole numbers know no NaN
        return whole
    try:
        rows = _seen(layer, image, -2, batch)
        columns = None if rows is None else _seen(layer, image, -1, batch)
    except UsageError:  # the model refuses NaN
        return whole
    if rows is None or columns is None:
        return whole
    return ReceptiveFields(shape=(height, width), rows=rows, columns=columns)


def _seen(layer: Layer, image: Tensor, dim: int, batch: int) -> Tensor | None:
    """First and last line of an image that each line of places sees; None: it has no places."""
    n_lines = image.shape[dim]
    hit = []
    with torch.no_grad():
        for start in range(0, n_lines, batch):
            lines = range(start, min(start + batch, n_lines))
            spoilt = torch.stack([_spoilt(image, line, dim) for line in lines])
            answers = layer(spoilt)
            if answers.dim() != IMAGE:
                return None
            others = (1, 3) if dim == -2 else (1, 2)  # noqa: PLR2004 - height is dimension 2
            hit.append(answers.isnan().any(others[1]).any(others[0]).cpu())
    depends = torch.cat(hit)  # (lines of the image, lines of places)
    if not depends.any(0).all():
        return None  # something on the way replaces NaN
    first = depends.int().argmax(0)
    last = n_lines - 1 - depends.flip(0).int().argmax(0)
    return torch.stack([first, last], dim=1)


def _spoilt(image: Tensor, line: int, dim: int) -> Tensor:
    """A copy with NaN in one row or column."""
    copy = image.clone()
    copy.select(dim, line).fill_(torch.nan)
    return copy
