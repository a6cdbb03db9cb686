import copy
import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import pytest
import torch
from observed_parameters import Observed, Row, clipped, one_parameter, rows_of
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry.capture import sampled_block
from telemetry.capture.provenance import ClipObserver

MakeOptimizer: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]


def net(*, width: int = 12, depth: int = 2, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1)]
        return nn.Sequential(*layers, nn.Linear(width, 3))


def backward(model: nn.Module, *, seed: int = 1) -> None:
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


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_is_bit_identical_with_and_without_observation(make: MakeOptimizer) -> None:
    results = []
    for is_observed in (True, False):
        torch.manual_seed(7)
        model = net()
        optimizer = make(list(model.parameters()))
        observed = Observed(model, optimizer)
        for seed in range(4):
            backward(model, seed=seed)
            if is_observed:
                assert observed.step()
            else:
                optimizer.step()
        state = [
            value
            for entry in optimizer.state.values()
            for value in entry.values()
            if isinstance(value, Tensor)
        ]
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        results.append([*model.state_dict().values(), *state, *grads, torch.get_rng_state()])
    assert len(results[0]) == len(results[1])
    assert all(torch.equal(left, right) for left, right in zip(*results, strict=True))


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_nothing_waits_for_the_device_on_the_training_thread(make: MakeOptimizer) -> None:
    model = net()
    optimizer = make(list(model.parameters()))
    observed = Observed(model, optimizer)
    for seed in range(3):
        backward(model, seed=seed)
        record = clipped(list(model.parameters()), 0.1)
        with Operations():
            observed.observer.before(optimizer, seed, record)
        optimizer.step()
        with Operations():
            packet = observed.observer.after(optimizer, seed)
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
            observed.observer.before(optimizer, 20, None)
        optimizer.step()
        with operations:
            observed.observer.after(optimizer, 20)
        counts.append(operations.counts.total())
    assert counts[1] <= counts[0] + 20  # 40 tensors more


def test_no_gradient_is_kept_alive_by_a_sample() -> None:
    model = net()
    optimizer = sgd(model)
    observed = Observed(model, optimizer)
    backward(model)
    grads = [weakref.ref(p.grad) for p in model.parameters()]
    observed.observer.before(optimizer, 0, None)
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


# --- which rows -----------------------------------------------------------------------------------


def test_each_parameter_has_a_row_of_each_kind() -> None:
    model = net()
    observed = Observed(model, torch.optim.Adam(model.parameters()))
    backward(model)
    rows = observed.step()
    kinds = ("gradient", "optimizer_state", "update", "weight")
    names = [name for name, _ in model.named_parameters()]
    assert sorted(rows) == sorted((name, kind) for name in names for kind in kinds)
    for (name, kind), row in rows.items():
        assert row["param_id"] == rows[name, "weight"]["tensor_id"]
        assert row["provenance"] == ("unscaled" if kind == "gradient" else "")
        assert row["scale"] == (1.0 if kind == "gradient" else None)
        assert row["step"] == 0


def test_weights_are_those_before_the_step_and_updates_what_the_step_did() -> None:
    model, weight = one_parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([1.0, 0.0])
    rows = Observed(model, torch.optim.SGD([weight], lr=0.5)).step()
    assert (rows["weight", "weight"]["sum"], rows["weight", "update"]["sum"]) == (3.0, -0.5)
    assert rows["weight", "update"]["dot_grad"] == -0.5


def test_a_parameter_without_gradient_has_rows_that_say_so() -> None:
    model = net()
    for parameter in model[3].parameters():
        parameter.requires_grad_(requires_grad=True)
    observed = Observed(model, torch.optim.AdamW(model.parameters(), weight_decay=0.1))
    backward(model)
    model[3].zero_grad()
    rows = observed.step()
    gradient = rows["3.weight", "gradient"]
    assert (gradient["n"], gradient["n_sampled"]) == (144, 0)
    assert all(gradient[name] is None for name in ("sum", "sumsq", "n_zero", "hist", "scale"))
    update = rows["3.weight", "update"]
    assert (update["n_sampled"], update["n_zero"]) == (144, 144)
    assert all(update[name] is None for name in ("dot_grad", "n_stuck", "decay_ratio"))
    assert ("3.weight", "optimizer_state") not in rows
    assert rows["0.weight", "gradient"]["n_sampled"] == 144
    assert rows["0.weight", "update"]["decay_ratio"] is not None


def test_frozen_parameters_have_no_rows() -> None:
    model = net()
    model[0].requires_grad_(requires_grad=False)
    backward(model)
    rows = Observed(model, sgd(model)).step()
    assert {name for name, _ in rows} == {"3.weight", "3.bias", "6.weight", "6.bias"}


def test_a_parameter_frozen_in_mid_run_leaves_and_comes_back() -> None:
    model = net()
    observed = Observed(model, sgd(model))
    seen = []
    for is_trained in (True, False, True):
        model[0].requires_grad_(requires_grad=is_trained)
        backward(model)
        seen.append(("0.weight", "update") in observed.step())
    assert seen == [True, False, True]


def test_a_group_added_in_mid_run_is_sampled_from_then_on() -> None:
    model = net()
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    observed = Observed(model, optimizer)
    backward(model)
    assert ("0.weight", "update") in observed.step()
    optimizer.add_param_group({"params": list(model[3].parameters()), "lr": 0.0})
    extra = nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [extra]})
    backward(model)
    rows = observed.step()
    assert rows["3.weight", "update"]["n_zero"] == 144
    assert rows["optimizer.0.4", "weight"]["sum"] == 2.0
    assert observed.catalogue.entry(extra) is not None


def test_several_optimizers_sample_their_own_parameters() -> None:
    model = net()
    optimizers = [sgd(model[0]), sgd(model[3])]
    observed = Observed(model, optimizers)
    backward(model)
    observed.step(optimizer=0)
    rows = observed.step(optimizer=1)
    assert {name for name, _ in rows} == {"3.weight", "3.bias"}


def test_what_two_optimizers_hold_is_sampled_once_a_step_by_whichever_steps() -> None:
    model = net()
    optimizers = [sgd(model[0]), sgd(model)]
    observed = Observed(model, optimizers)
    backward(model)
    assert {name for name, _ in observed.step(optimizer=0)} == {"0.weight", "0.bias"}
    observed.n_steps = 0
    assert not {name for name, _ in observed.step(optimizer=1)} & {"0.weight", "0.bias"}
    assert ("0.weight", "update") in observed.step(optimizer=1)


def test_trainable_parameters_of_no_optimizer_are_compared_with_their_previous_sample() -> None:
    model = net()
    observed = Observed(model, [sgd(model[0]), sgd(model[3])])
    backward(model)
    first = observed.step(optimizer=0)
    assert ("6.weight", "gradient") in first
    assert ("6.weight", "update") not in first
    assert not {name for name, _ in observed.step(optimizer=1)} & {"6.weight", "6.bias"}
    still = observed.step(optimizer=0)["6.weight", "update"]
    assert (still["n_zero"], still["n_sampled"]) == (36, 36)
    model[6].weight.data.add_(0.5)
    moved = observed.step(optimizer=0)
    assert moved["6.weight", "update"]["n_zero"] == 0
    assert float(str(moved["6.weight", "update"]["sum"])) == pytest.approx(18.0, rel=1e-5)
    assert moved["6.weight", "update"]["dot_grad"] is None
    assert moved["6.weight", "gradient"]["n_sampled"] == 36
    assert observed.step(optimizer=0)["6.weight", "update"]["n_zero"] == 36


def test_a_layer_injected_after_the_optimizer_was_built_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.capture.observe_optimizer.SEARCH_EVERY", 2)
    model = net()
    observed = Observed(model, sgd(model))
    revision = observed.catalogue.revision
    backward(model)
    observed.step()
    model.append(nn.Linear(3, 3))
    backward(model)
    observed.step()
    assert ("7.weight", "gradient") in observed.step()
    assert observed.catalogue.revision > revision


# --- odd parameters -------------------------------------------------------------------------------


def test_blocks_split_the_parameters_without_changing_a_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for limit in (1 << 19, 150):
        monkeypatch.setattr(sampled_block, "HOST_BLOCK_ELEMENTS", limit)
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
    monkeypatch.setattr("telemetry.capture.plain_tensors.DENSE_LIMIT", 10)
    rows = observed.step()
    assert rows["weight", "gradient"]["n_sampled"] == 80  # it is there, though unread
    assert rows["weight", "gradient"]["sumsq"] is None
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
                observed.observer.before(optimizer, seed, None)
            optimizer.step()
            with torch.device("meta"):
                packet = observed.observer.after(optimizer, seed)
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
    model = net(depth=1)
    fully_shard(model, mesh=mesh)
    observed = Observed(model, torch.optim.AdamW(model.parameters()))
    backward(model)
    record = clipped(list(model.parameters()), 0.1)
    rows = observed.step(clip=record)
    assert rows["0.weight", "gradient"]["n_sampled"] == 144
    assert rows["0.weight", "optimizer_state"]["rms_ratio"] is not None
    assert (record.total_norm, rows["0.weight", "gradient"]["scale"]) == (None, None)
    modules = dict(observed.catalogue.packet().rows())["modules"].to_pylist()
    assert modules[0]["type"] == "Sequential"


# --- provenance -----------------------------------------------------------------------------------


def test_clipped_gradients_are_labelled_with_their_coefficient() -> None:
    model, weight = one_parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    observed = Observed(model, torch.optim.SGD([weight], lr=0.1))
    row = observed.step(clip=clipped([weight], 1.0))["weight", "gradient"]
    assert row["provenance"] == "clipped"
    assert float(str(row["scale"])) == pytest.approx(0.2)
    assert float(str(row["sumsq"])) == pytest.approx(1.0, rel=1e-5)
    packet = observed.packet
    assert packet is not None
    assert packet.grad_norm_unscaled is not None
    assert packet.grad_norm_unscaled.item() == pytest.approx(5.0, rel=1e-5)
    assert packet.grad_sumsq_total.item() == pytest.approx(1.0, rel=1e-5)


def test_value_clipping_leaves_scale_and_total_unknown() -> None:
    model, weight = one_parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    observer = ClipObserver()
    observer.install()
    nn.utils.clip_grad_value_([weight], 1.0)
    record = observer.take([weight])
    observer.close()
    observed = Observed(model, torch.optim.SGD([weight], lr=0.1))
    row = observed.step(clip=record)["weight", "gradient"]
    assert (row["provenance"], row["scale"]) == ("clipped", None)
    assert row["sumsq"] == pytest.approx(2.0)
    assert observed.packet is not None
    assert observed.packet.grad_norm_unscaled is None


def test_a_loss_scale_that_the_optimizer_removes_itself_is_told() -> None:
    model, weight = one_parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.5)
    optimizer.grad_scale = torch.tensor(1024.0)  # type: ignore[attr-defined]
    weight.grad = torch.tensor([3.0, 4.0]) * 1024
    observed = Observed(model, optimizer)

    def unscaled_step() -> None:
        assert weight.grad is not None
        weight.grad.div_(1024)
        optimizer.step()

    del optimizer.grad_scale  # type: ignore[attr-defined]
    optimizer.grad_scale = torch.tensor(1024.0)  # type: ignore[attr-defined]
    observed.observer.before(optimizer, 0, None)
    del optimizer.grad_scale  # type: ignore[attr-defined]
    unscaled_step()
    packet = observed.observer.after(optimizer, 0)
    assert packet is not None
    rows = rows_of(packet, observed.catalogue)
    assert rows["weight", "gradient"]["provenance"] == "raw"
    assert rows["weight", "gradient"]["scale"] == 1024.0
    assert rows["weight", "optimizer_state"]["rms_ratio"] == pytest.approx(1.0, rel=1e-3)
    assert packet.grad_norm_unscaled is not None
    assert packet.grad_norm_unscaled.item() == pytest.approx(5.0)


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
    observer = Observed(model, [optimizer, other]).observer
    backward(model)
    assert observer.after(optimizer, 0) is None
    observer.before(optimizer, 0, None)
    assert observer.after(optimizer, 1) is None
    observer.before(optimizer, 0, None)
    assert observer.after(other, 0) is None
    assert observer.after(optimizer, 0) is None


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
