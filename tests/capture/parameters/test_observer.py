import copy
import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import pytest
import torch
from observed_parameters import (
    Observed,
    Row,
    backward,
    clipped,
    net,
    rows_of,
    sgd,
    take_device_route,
)
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture.parameters import whole_moments
from telemetry.capture.parameters.whole_moments import MEASURES, WholeMoments

MakeOptimizer: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]


class Operations(TorchDispatchMode):
    """Counts what is dispatched; reading one element on the host is forbidden."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        name = str(func)
        if "_local_scalar_dense" in name or "nonzero" in name:
            raise AssertionError(f"{name} waits for the device")
        self.counts[name] += 1
        return func(*args, **(kwargs or {}))


# --- never in the way -----------------------------------------------------------------------------

OPTIMIZERS: list[MakeOptimizer] = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01)),
    lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    lambda p: torch.optim.RMSprop(p, lr=0.01),
    lambda p: torch.optim.Adafactor(p, lr=0.01),
]


def unread(tensor: Tensor) -> None:
    raise AssertionError(f"{tuple(tensor.shape)} is read on the host")


def launched(tensors: Sequence[Tensor], with_fields: bool) -> WholeMoments:  # noqa: FBT001
    """What a kernel returns, without its values."""
    fields = torch.zeros((len(tensors), 512), dtype=torch.int32) if with_fields else None
    measures = torch.zeros((len(MEASURES), len(tensors)), dtype=torch.float64)
    return WholeMoments(measures=measures, fields=fields)


@pytest.mark.parametrize("route", ["host", "device", "kernel"])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_nothing_waits_for_the_device_on_the_training_thread(
    make: MakeOptimizer, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if route != "host":
        take_device_route(monkeypatch)
        monkeypatch.setattr(Tensor, "numpy", unread)
    if route == "kernel":
        monkeypatch.setattr(whole_moments, "kernel", lambda device: launched if device else None)
    model = net()
    optimizer = make(list(model.parameters()))
    observed = Observed(model, optimizer)
    packets = []
    for seed in range(3):
        backward(model, seed=seed)
        record = clipped(list(model.parameters()), 0.1)
        with Operations():
            observed.before(optimizer, seed, record)
        optimizer.step()
        with Operations():
            packets.append(observed.after(optimizer, seed))
    monkeypatch.undo()
    for packet in packets:
        assert packet is not None
        assert rows_of(packet, observed.catalogue)


def test_the_number_of_operations_does_not_grow_with_the_number_of_tensors() -> None:
    counts = []
    for depth in (2, 20):
        model = net(depth=depth)
        optimizer = torch.optim.AdamW(model.parameters())
        observed = Observed(model, optimizer)
        observed.n_steps = 10
        for seed in range(2):
            backward(model, seed=seed)
            observed.step()
        backward(model)
        operations = Operations()
        with operations:
            observed.before(optimizer, 20, None)
        optimizer.step()
        with operations:
            observed.after(optimizer, 20)
        counts.append(operations.counts.total())
    assert counts[1] <= counts[0] + 20  # 40 tensors more


def test_no_gradient_is_kept_alive_by_a_sample() -> None:
    model = net()
    optimizer = sgd(model)
    observed = Observed(model, optimizer)
    backward(model)
    grads = [weakref.ref(p.grad) for p in model.parameters()]
    observed.before(optimizer, 0, None)
    model.zero_grad()
    gc.collect()
    assert [grad() for grad in grads] == [None] * len(grads)


def test_a_packet_does_not_change_when_training_goes_on() -> None:
    model = net()
    observed = Observed(model, torch.optim.Adam(model.parameters()))
    backward(model)
    first = observed.step()
    packet = observed.packet
    assert packet is not None
    backward(model, seed=2)
    observed.step()
    observed.step()
    assert rows_of(packet, observed.catalogue) == first


# --- the packet's own values ----------------------------------------------------------------------


def test_the_total_is_over_all_gradients_and_nan_when_one_is_not_finite() -> None:
    model = net()
    observed = Observed(model, sgd(model))
    backward(model)
    expected = sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)
    observed.step()
    assert observed.packet is not None
    assert observed.packet.grad_sumsq_total.item() == pytest.approx(expected, rel=1e-5)
    assert model[0].weight.grad is not None
    model[0].weight.grad[0, 0] = math.inf
    observed.step()
    assert math.isnan(observed.packet.grad_sumsq_total.item())


def checksum(model: nn.Module) -> int:
    observed = Observed(model, sgd(model))
    backward(model)
    observed.step()
    assert observed.packet is not None
    assert observed.packet.weight_checksum.dtype == torch.int64
    return int(observed.packet.weight_checksum.item())


def test_the_checksum_tells_equal_weights_from_different_and_from_permuted_ones() -> None:
    model = net()
    same, other, permuted = (copy.deepcopy(model) for _ in range(3))
    other[3].weight.data[0, 0] *= 1 + 1e-6
    permuted[0].weight.data[:2] = permuted[0].weight.data[:2].flip(0)
    first = checksum(model)
    assert checksum(same) == first
    assert len({first, checksum(other), checksum(permuted)}) == 3


def test_a_sample_that_was_never_begun_gives_nothing() -> None:
    model = net()
    optimizer, other = sgd(model), sgd(model)
    observed = Observed(model, [optimizer, other])
    backward(model)
    assert observed.after(optimizer, 0) is None
    observed.before(optimizer, 0)
    assert observed.after(optimizer, 1) is None
    observed.before(optimizer, 0)
    assert observed.after(other, 0) is None
    assert observed.after(optimizer, 0) is not None
    assert observed.after(optimizer, 0) is None


def test_an_optimizer_with_nothing_to_train_gives_nothing() -> None:
    model = net()
    model.requires_grad_(requires_grad=False)
    observed = Observed(model, sgd(model))
    assert observed.step() == {}
    assert observed.packet is None


def test_memory_of_a_packet_is_counted() -> None:
    model = net()
    observed = Observed(model, sgd(model))
    backward(model)
    row: Row = observed.step()["0.weight", "gradient"]
    assert row["n"] == 144
    assert observed.packet is not None
    assert observed.packet.n_bytes > 512 * 4 * 2 * 6  # histograms of six tensors, two kinds
