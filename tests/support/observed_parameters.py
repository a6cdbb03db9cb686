"""Drives the parameter observer over a few steps and looks at the rows it made."""

import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.gradients.clipping import ClipObserver
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.packet import Packet
from telemetry.capture.parameters import statistics
from telemetry.capture.parameters.observer import ParameterObserver
from telemetry.capture.parameters.rows import ParameterPacket
from telemetry.capture.steps.ledger import StepLedger, StepRecord
from telemetry.capture.steps.observer import Surroundings
from telemetry.capture.steps.options import Options
from telemetry.capture.steps.provenance import ClipRecord
from telemetry.capture.tensors.sample_plan import plan_tensor, sampled
from telemetry.format import histograms

FloatArray = npt.NDArray[np.float64]
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
        self._put: list[Packet] = []
        self._observer = parameter_observer(
            self.catalogue, put=self._put.append, histograms=histograms
        )
        self._record = StepRecord(step=0)
        self.n_steps = 0
        self.packet: ParameterPacket | None = None

    def before(self, optimizer: Optimizer, step: int, clip: ClipRecord | None = None) -> None:
        """What the hook before its step does."""
        self._record = StepRecord(step=step)
        self._record.clip = clip
        self._observer.before_sampled_step(self._record, optimizer)

    def after(self, optimizer: Optimizer, step: int) -> ParameterPacket | None:
        """What the hook after its step does; the sample that was put."""
        if self._record.step != step:
            self._record = StepRecord(step=step)
        self._put.clear()
        self._observer.after_sampled_step(self._record, optimizer)
        samples = [packet for packet in self._put if isinstance(packet, ParameterPacket)]
        return samples[0] if samples else None

    def step(
        self,
        *,
        optimizer: int = 0,
        clip: ClipRecord | None = None,
        between: Callable[[], None] | None = None,
    ) -> Rows:
        """Sample around one step; the rows by (name, kind)."""
        chosen = self.optimizers[optimizer]
        self.before(chosen, self.n_steps, clip)
        chosen.step() if between is None else between()
        self.packet = self.after(chosen, self.n_steps)
        self.n_steps += 1
        return {} if self.packet is None else rows_of(self.packet, self.catalogue)


def parameter_observer(
    catalogue: Catalogue, *, put: Callable[[Packet], None], histograms: bool = True
) -> ParameterObserver:
    """The observer of a recording that has nothing else."""
    ledger = StepLedger(n_optimizers=len(catalogue.optimizers), now_s=0.0)
    return ParameterObserver(
        Surroundings(
            model=catalogue.model,
            optimizers=catalogue.optimizers,
            options=Options(
                every=1,
                overhead_budget=None,
                overhead_allowance_s=0.0,
                histograms=histograms,
                activations=False,
                flight_recorder=0,
                strict=True,
            ),
            catalogue=catalogue,
            ledger=ledger,
            guard=Guard(strict=True, on_failure=lambda *_: None),
            emit=lambda _: None,
            put=put,
            skipped=lambda _: None,
            is_sampled=lambda: True,
            first_bad_loss=lambda: None,
        )
    )


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


def take_device_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute as on an accelerator, which is never asked, though on the CPU."""
    names = [f"{statistics.__name__}.{m.name}" for m in pkgutil.iter_modules(statistics.__path__)]
    for name in ["telemetry.capture.tensors.host", *names]:
        if hasattr(importlib.import_module(name), "on_host"):
            monkeypatch.setattr(f"{name}.on_host", lambda values: values is None)
    for module in ("parameters.statistic", "tensors.norms"):
        monkeypatch.setattr(f"telemetry.capture.{module}.on_host", lambda values: values is None)


def random(shape: tuple[int, ...], seed: int = 0, *, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def observe(
    weight: Tensor,
    gradients: list[Tensor | None],
    *,
    updates: list[Tensor] | None = None,
    with_histograms: bool = True,
) -> tuple[Row, Row, Row]:
    """Gradient, weight and update row of the last of some steps of one parameter."""
    model, parameter = one_parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    observed = Observed(model, optimizer, histograms=with_histograms)
    rows = {}
    for i, gradient in enumerate(gradients):
        parameter.grad = gradient

        def move(i: int = i) -> None:
            if updates is None:
                optimizer.step()
            else:
                parameter.data.add_(updates[i])

        rows = observed.step(between=move)
    return rows["weight", "gradient"], rows["weight", "weight"], rows["weight", "update"]


def close(value: object, expected: float, relative: float = 1e-5) -> bool:
    return math.isclose(float(str(value)), expected, rel_tol=relative, abs_tol=1e-30)


def check_moments(row: Row, values: FloatArray) -> None:
    finite = values[np.isfinite(values)]
    assert row["n_sampled"] == len(values)
    assert row["n_zero"] == (finite == 0).sum()
    if not len(finite):
        assert all(row[name] is None for name in ("sum", "min", "max", "absmax"))
        return
    assert abs(float(str(row["sum"])) - finite.sum()) <= 1e-5 * np.abs(finite).sum()
    assert close(row["min"], finite.min())
    assert close(row["max"], finite.max())
    assert close(row["absmax"], np.abs(finite).max())


def check_histogram(row: Row, values: FloatArray) -> None:
    fields = histograms.fields_of(values.astype(np.float32))[None]
    if not fields.any():
        assert (row["hist_exp"], row["hist"]) == (None, None)
        return
    exponent, counts = histograms.fold(fields)
    assert row["hist_exp"] == exponent[0]
    assert row["hist"] == histograms.encode_counts(counts)[0].tobytes()


def net(*, width: int = 12, depth: int = 2, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1)]
        return nn.Sequential(*layers, nn.Linear(width, 3))


def backward(model: nn.Module, *, seed: int = 1) -> None:
    """Fresh gradients of a forward on random input."""
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    x = torch.randn(
        8,
        next(m for m in model.modules() if isinstance(m, nn.Linear)).in_features,
        generator=generator,
    )
    model(x).square().mean().backward()


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
