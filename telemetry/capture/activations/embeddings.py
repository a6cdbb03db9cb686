"""Which rows of an embedding were read in a step, counted exactly without knowing how many."""

from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.capture.activations.modules import ModuleNode
from telemetry.capture.activations.records import Forward, Label, Measures, Observation
from telemetry.capture.activations.statistics import MAX_ELEMENTS, dtype_name, leading

INDEX_TYPES = (torch.int32, torch.int64)


@dataclass(slots=True, kw_only=True)
class _Rows:
    node: ModuleNode
    forward: Forward
    dtype: str
    touched: Tensor  # (num_embeddings,), bool
    n: int = 0


class TouchedRows:
    """Marks of the rows read by the forwards of a step."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str | None, int], _Rows] = {}

    def add(self, node: ModuleNode, indices: object, forward: Forward) -> None:
        """An embedding has read the rows of these indices.

        Args:
            node: The embedding.
            indices: What it was called with; other things than tensors of indices are left out.
            forward: The outermost forward; those of one step and phase are counted together.
        """
        n_rows = node.module.num_embeddings
        if (
            type(indices) is not Tensor
            or indices.dtype not in INDEX_TYPES
            or indices.numel() == 0
            or not isinstance(n_rows, int)
            or n_rows > MAX_ELEMENTS
        ):
            return
        own = forward.step if forward.phase is not None else id(forward)
        rows = self._rows.get((node.path, forward.phase, own))
        if rows is None:
            touched = torch.zeros(n_rows, dtype=torch.bool, device=indices.device)
            rows = _Rows(node=node, forward=forward, dtype=dtype_name(indices), touched=touched)
            self._rows[node.path, forward.phase, own] = rows
        part = leading(indices, MAX_ELEMENTS).reshape(-1)
        rows.touched.index_fill_(0, part.long(), value=True)
        rows.n += part.numel()

    def take(self) -> list[Observation[Tensor]]:
        """Counts of the forwards whose phase is known; the others stay."""
        known = {key: rows for key, rows in self._rows.items() if rows.forward.phase is not None}
        self._rows = {key: rows for key, rows in self._rows.items() if key not in known}
        return [_observation(rows) for rows in known.values()]


def _observation(rows: _Rows) -> Observation[Tensor]:
    label = Label(
        path=rows.node.path,
        site="input",
        forward=rows.forward,
        dtype=rows.dtype,
        n=rows.n,
        n_units=len(rows.touched),
        training=rows.node.module.training,
    )
    return Observation(label=label, measures=Measures(n_touched=rows.touched.sum()))
