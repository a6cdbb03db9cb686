"""Drives the parameter observer over a few steps and looks at the rows it made."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue import Catalogue
from telemetry.capture.observe_optimizer import ParameterObserver
from telemetry.capture.parameter_packet import ParameterPacket
from telemetry.capture.provenance import ClipObserver, ClipRecord
from telemetry.capture.sample_plan import plan_tensor, sampled

Row = dict[str, object]
Rows = dict[tuple[str, str], Row]


class Observed:
    """One model and its optimizers under observation; `step` runs one optimizer step."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        histograms: bool = True,
    ) -> None:
        self.model = model
        self.optimizers = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self.catalogue = Catalogue(model, self.optimizers)
        self.observer = ParameterObserver(self.catalogue, histograms=histograms)
        self.n_steps = 0
        self.packet: ParameterPacket | None = None

    def step(
        self,
        *,
        optimizer: int = 0,
        clip: ClipRecord | None = None,
        between: Callable[[], None] | None = None,
    ) -> Rows:
        """Sample around one step; the rows by (name, kind)."""
        chosen = self.optimizers[optimizer]
        self.observer.before(chosen, self.n_steps, clip)
        chosen.step() if between is None else between()
        self.packet = self.observer.after(chosen, self.n_steps)
        self.n_steps += 1
        return {} if self.packet is None else rows_of(self.packet, self.catalogue)


def rows_of(packet: ParameterPacket, catalogue: Catalogue) -> Rows:
    """Rows of a packet by parameter name and kind; each exists once."""
    tensors = dict(catalogue.packet().rows())["tensors"].to_pylist()
    names = {row["tensor_id"]: (row["name"], row["kind"]) for row in tensors}
    result: Rows = {}
    for table, rows in packet.rows():
        assert table == "tensor_stats"
        for row in rows.to_pylist():
            key = names[row["tensor_id"]]
            assert key[1] == row["kind"]
            assert key not in result
            result[key] = row
    return result


def one_parameter(values: Tensor) -> tuple[nn.Module, nn.Parameter]:
    """A module whose only parameter, `weight`, holds the values."""
    model = nn.Module()
    model.weight = nn.Parameter(values.clone())
    return model, model.weight


def sampled_values(tensor: Tensor) -> npt.NDArray[np.float64]:
    """The elements of the sample plan, flat."""
    tensor = tensor.detach()
    return sampled(plan_tensor(tensor), tensor).reshape(-1).double().numpy()


def clipped(parameters: Sequence[Tensor], max_norm: float) -> ClipRecord:
    """Clip the gradients by norm, as a loop would, and what was observed of it."""
    observer = ClipObserver()
    observer.install()
    try:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        record = observer.take(parameters)
    finally:
        observer.close()
    assert record is not None
    return record
