import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import torch
from observed_parameters import Observed, backward, clipped, net, one_parameter, rows_of, sgd
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import Optimizer

from telemetry.capture.parameters import blocks as parameter_blocks

MakeOptimizer: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]


# --- odd parameters -------------------------------------------------------------------------------


def test_blocks_split_the_parameters_without_changing_a_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for limit in (1 << 19, 150):
        monkeypatch.setattr(parameter_blocks, "HOST_BLOCK_ELEMENTS", limit)
        torch.manual_seed(0)
        model = net()
        observed = Observed(model, torch.optim.Adam(model.parameters()))
        for seed in range(2):
            backward(model, seed=seed)
            rows = observed.step()
        assert observed.packet is not None
        packet = observed.packet
        results.append((rows, packet.weight_checksum.item(), packet.grad_sumsq_total.item()))
    assert results[0][0] == results[1][0]
    assert results[0][1] == results[1][1]
    assert results[0][2] == pytest.approx(results[1][2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_of_any_float_type_are_read(dtype: torch.dtype) -> None:
    model, weight = one_parameter(torch.ones(4, dtype=dtype))
    weight.grad = torch.full((4,), 0.5, dtype=dtype)
    rows = Observed(model, torch.optim.SGD([weight], lr=0.5)).step()
    assert rows["weight", "gradient"]["sumsq"] == 1.0
    assert (rows["weight", "weight"]["sum"], rows["weight", "update"]["sum"]) == (4.0, -1.0)


def test_parameters_of_several_types_are_read_together() -> None:
    model = nn.ParameterList(
        [torch.ones(3).to(kind) for kind in (torch.float32, torch.bfloat16, torch.float64)]
    )
    for parameter in model:
        parameter.grad = torch.ones_like(parameter)
    observed = Observed(model, torch.optim.SGD(model.parameters(), lr=1.0))
    rows = observed.step()
    assert [rows[str(i), "gradient"]["sumsq"] for i in range(3)] == [3.0, 3.0, 3.0]
    assert observed.packet is not None
    assert observed.packet.grad_sumsq_total.item() == pytest.approx(9.0)


def test_a_model_that_changes_its_type_is_planned_anew() -> None:
    model = net()
    observed = Observed(model, torch.optim.SGD(model.parameters(), lr=0.1))
    backward(model)
    observed.step()
    model.double()
    model.zero_grad()
    model(torch.ones(2, 12).double()).sum().backward()
    rows = observed.step()
    assert rows["0.weight", "update"]["cos_prev"] is None
    assert rows["0.weight", "gradient"]["n_sampled"] == 144


def test_gradients_may_lie_otherwise_in_memory_than_their_weights() -> None:
    weight = torch.randn(128, 64, 3, 3).to(memory_format=torch.channels_last)
    model, parameter = one_parameter(weight)
    parameter.grad = parameter.detach().clone(memory_format=torch.contiguous_format)
    assert parameter.grad.stride() != parameter.stride()
    rows = Observed(model, torch.optim.SGD([parameter], lr=1.0)).step()
    assert rows["weight", "gradient"]["n_sampled"] == 65_536
    assert rows["weight", "gradient"]["hist"] == rows["weight", "weight"]["hist"]
    norms = rows["weight", "update"]["sumsq"], rows["weight", "update"]["dot_grad"]
    assert float(str(norms[1])) == pytest.approx(-float(str(norms[0])), rel=1e-5)


def test_sparse_gradients_are_read_like_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Embedding(20, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    observed = Observed(model, optimizer)
    model(torch.tensor([1, 1, 3])).sum().backward()
    row = observed.step()["weight", "gradient"]
    assert (row["sumsq"], row["n_zero"], row["sum"]) == (20.0, 72, 12.0)
    assert observed.packet is not None
    assert observed.packet.grad_norm_unscaled is not None
    assert observed.packet.grad_norm_unscaled.item() == pytest.approx(20.0**0.5)
    monkeypatch.setattr("telemetry.capture.tensors.plain.DENSE_LIMIT", 10)
    rows = observed.step()
    assert rows["weight", "gradient"]["n_sampled"] == 80  # it is there, though unread
    assert (rows["weight", "gradient"]["sumsq"], rows["weight", "gradient"]["n_nan"]) == (20.0, 0)
    assert rows["weight", "gradient"]["sum"] is rows["weight", "gradient"]["hist"] is None
    assert observed.packet.grad_norm_unscaled.item() == pytest.approx(20.0**0.5)
    assert rows["weight", "update"]["n_zero"] == 72


def test_complex_parameters_count_as_pairs_of_numbers() -> None:
    model, weight = one_parameter(torch.tensor([1 + 2j, 3 - 1j]))
    weight.grad = torch.tensor([1j, 1j])
    rows = Observed(model, torch.optim.SGD([weight], lr=1.0)).step()
    assert (rows["weight", "weight"]["sum"], rows["weight", "weight"]["n"]) == (5.0, 4)
    assert rows["weight", "gradient"]["sumsq"] == pytest.approx(2.0)
    assert rows["weight", "update"]["sum"] == -2.0


def test_what_cannot_be_read_has_a_row_without_statistics() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, device="meta")})
    model.register_parameter("empty", nn.Parameter(torch.zeros(0, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model["a"](torch.ones(1, 2)).sum().backward()
    observed = Observed(model, optimizer)
    rows = observed.step()
    assert (rows["b.weight", "weight"]["n_sampled"], rows["b.weight", "weight"]["sum"]) == (0, None)
    assert ("b.weight", "gradient") not in rows
    assert rows["a.weight", "gradient"]["n_sampled"] == 4


def test_an_integer_parameter_does_not_stop_the_sample() -> None:
    model = net()
    model.register_parameter(
        "packed", nn.Parameter(torch.ones(5, dtype=torch.uint8), requires_grad=False)
    )
    backward(model)
    assert Observed(model, sgd(model)).step()


def test_settings_of_torch_that_a_script_changed_do_not_matter() -> None:
    model = net()
    observed = Observed(model, torch.optim.AdamW(model.parameters()))
    optimizer = observed.optimizers[0]
    torch.use_deterministic_algorithms(mode=True)
    torch.set_default_dtype(torch.float64)
    try:
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter.grad = torch.randn(
                    parameter.shape, generator=generator, dtype=torch.float32
                )
            parameter.grad[0] = math.nan  # type: ignore[index]
            with torch.device("meta"):
                observed.before(optimizer, seed, None)
            optimizer.step()
            with torch.device("meta"):
                packet = observed.after(optimizer, seed)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(mode=False)
    assert packet is not None
    rows = rows_of(packet, observed.catalogue)
    assert rows["0.weight", "gradient"]["n_nan"] == 0
    assert rows["6.bias", "gradient"]["n_nan"] == 1


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_a_sharded_model_is_read_by_its_local_parts(mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    model = net(depth=1)
    fully_shard(model, mesh=mesh)
    observed = Observed(model, torch.optim.AdamW(model.parameters()))
    backward(model)
    record = clipped(list(model.parameters()), 0.1)
    rows = observed.step(clip=record)
    assert rows["0.weight", "gradient"]["n_sampled"] == 144
    assert rows["0.weight", "optimizer_state"]["rms_ratio"] is not None
    assert record.total_norm is not None
    scale = rows["0.weight", "gradient"]["scale"]
    assert scale == pytest.approx(0.1 / record.total_norm.item(), rel=1e-4)
    modules = dict(observed.catalogue.packet().rows())["modules"].to_pylist()
    assert modules[0]["type"] == "Sequential"
