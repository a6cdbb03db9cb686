"""Parameters and optimizers of every kind: the rows say what a computation by hand says."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import records
from provenance import column, opened, scalar, steps, tensors, x
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, parametrizations

from telemetry.format.step_flags import StepFlag

CUDA = pytest.param(
    {"capturable": True},
    "cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="a CPU captures no graphs"),
)


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize(
    ("options", "device"),
    [
        ({"foreach": False}, "cpu"),
        ({"foreach": True}, "cpu"),
        ({"fused": True}, "cpu"),
        ({"lr": torch.tensor(0.125)}, "cpu"),
        CUDA,
    ],
)
def test_each_implementation_of_an_optimizer_gives_the_same_rows(
    tmp_path: Path, kind: type[torch.optim.Optimizer], options: dict[str, object], device: str
) -> None:
    model = scalar(2.0).to(device)
    settings = {"lr": 0.125, "weight_decay": 0.0, **options}
    optimizer = kind(model.parameters(), **settings)  # type: ignore[arg-type]
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(2):
            optimizer.zero_grad()
            model(x(3.0).to(device)).sum().backward()
            optimizer.step()
            telemetry.step()
    found = tensors(telemetry)
    assert column(telemetry, "lr") == [0.125, 0.125]
    for step in range(2):
        assert found[step, "weight", "gradient"]["sum"] == 3.0
        # A gradient that stays the same moves a weight by the learning rate, whatever its size.
        assert found[step, "weight", "update"]["sum"] == pytest.approx(-0.125, rel=1e-4)
        assert found[step, "weight", "weight"]["sum"] == pytest.approx(2 - 0.125 * step)
        second = found[step, "weight", "optimizer_state"]
        assert second["sum"] == pytest.approx(9.0, rel=1e-4)
        assert second["rms_ratio"] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.SparseAdam])
def test_sparse_gradients_count_rows_that_were_used_twice_once_with_their_sum(
    tmp_path: Path, kind: type[torch.optim.Optimizer]
) -> None:
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = kind(model.parameters(), lr=0.5)  # type: ignore[call-arg]
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        model(torch.tensor([1, 1, 3])).sum().backward()
        optimizer.step()
    row = tensors(telemetry)[0, "weight", "gradient"]
    assert (row["sumsq"], row["n_zero"], row["max"]) == (2 * 2.0**2 + 2 * 1.0**2, 6, 2.0)
    assert column(telemetry, "grad_norm_total") == [pytest.approx(10.0**0.5)]
    moved = tensors(telemetry)[0, "weight", "update"]
    assert moved["n_zero"] == 6
    if kind is torch.optim.SGD:
        assert moved["sum"] == pytest.approx(-0.5 * 6.0)


def test_a_tied_weight_has_one_gradient_which_is_the_sum(tmp_path: Path) -> None:
    model = nn.Sequential(scalar(2.0), scalar(2.0))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        model(x(1.0)).sum().backward()
        optimizer.step()
    gradients = {key: row["sum"] for key, row in tensors(telemetry).items() if key[2] == "gradient"}
    assert gradients == {(0, "0.weight", "gradient"): 4.0}
    assert column(telemetry, "grad_norm_total") == [4.0]


def test_parametrized_weights_are_recorded_by_what_is_trained(tmp_path: Path) -> None:
    model = parametrizations.weight_norm(scalar(-3.0))  # weight = g * v / |v|, g = 3, v = -3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        model(x(2.0)).sum().backward()
        optimizer.step()
    found = tensors(telemetry)
    magnitude, direction = (f"parametrizations.weight.original{i}" for i in range(2))
    assert {key[1] for key in found} == {magnitude, direction}
    assert found[0, magnitude, "weight"]["sum"] == 3.0
    assert found[0, magnitude, "gradient"]["sum"] == -2.0
    assert found[0, magnitude, "update"]["sum"] == 1.0
    assert found[0, direction, "gradient"]["sum"] == pytest.approx(0.0, abs=1e-6)


class Lazy(nn.Module):
    """y = 3 x, in layers that learn the width of their input from the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.LazyLinear(1, bias=False)
        self.norm = nn.LazyBatchNorm1d()
        self.unused = nn.LazyLinear(1)
        self.head.register_forward_pre_hook(self._fill)

    def _fill(self, head: nn.Module, args: object) -> None:
        del args
        with torch.no_grad():
            if self.is_first:
                head.weight.fill_(3.0)
        self.is_first = False

    is_first = True

    def forward(self, values: Tensor) -> Tensor:
        return self.head(values) + 0 * self.norm(values).sum()


@pytest.mark.parametrize("probe", [None, torch.ones(2, 2)])
def test_lazy_parameters_are_read_from_the_step_that_makes_them(
    tmp_path: Path, probe: Tensor | None
) -> None:
    model = Lazy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path, activations=True, probe=probe) as telemetry:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.tensor([[1.0, 2.0], [2.0, 4.0]])).sum().backward()
            optimizer.step()
    found = tensors(telemetry)
    gradients = {key[:2]: row["sum"] for key, row in found.items() if key[2] == "gradient"}
    assert gradients[0, "head.weight"] == gradients[1, "head.weight"] == 9.0  # 1 + 2, 2 + 4
    weights = {key[:2]: row["sum"] for key, row in found.items() if key[2] == "weight"}
    assert [weights[step, "head.weight"] for step in (0, 1)] == [6.0, 1.5]  # 2 * 3, - 9 / 2
    assert not any(name.startswith("unused") for _, name in weights)
    assert telemetry.path is not None
    modules = {row["path"]: row for row in records(telemetry.path, "modules")}
    assert (modules["head"]["type"], modules["head"]["n_parameters"]) == ("Linear", 2)
    assert {row["kind"] for row in records(telemetry.path, "events")} == {"attach", "optimizer"}


@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, x(1.0))])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_model_of_torch_script_has_everything_but_activations(
    tmp_path: Path, make: Callable[[nn.Module], nn.Module]
) -> None:
    model = make(nn.Sequential(scalar(2.0)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        model(x(1.0, 3.0)).sum().backward()
        optimizer.step()
    found = {key[1:]: row["sum"] for key, row in tensors(telemetry).items()}
    assert found == {
        ("0.weight", "weight"): 2.0,
        ("0.weight", "gradient"): 4.0,
        ("0.weight", "update"): -2.0,
    }
    assert column(telemetry, "loss") == [8.0]
    assert telemetry.path is not None
    assert records(telemetry.path, "module_stats") == []
    reasons = [row["message"] for row in records(telemetry.path, "events")]
    assert any("TorchScript modules run without hooks" in str(reason) for reason in reasons)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("foreach", [False, True])
def test_clipping_of_sharded_gradients_is_told(
    tmp_path: Path, mesh: DeviceMesh, *, foreach: bool
) -> None:
    from torch.distributed.fsdp import fully_shard

    model = scalar(1.0)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        for clip in (clip_grad_norm_, clip_grad_value_):  # as they were before the callback
            optimizer.zero_grad()
            model(x(4.0)).sum().backward()
            clip(model.parameters(), 1.0, foreach=foreach)
            optimizer.step()
    seen = [tensors(telemetry)[step, "weight", "gradient"] for step in (0, 1)]
    assert [row["sum"] for row in seen] == [pytest.approx(1.0), 1.0]
    assert [row["scale"] for row in seen] == [pytest.approx(0.25), None]
    assert column(telemetry, "grad_norm_total") == [4.0, None]
    assert column(telemetry, "clip_coefficient") == [pytest.approx(0.25), None]
    flags = [StepFlag(int(str(value))) for value in column(telemetry, "flags")]
    assert [StepFlag.VALUE_CLIPPING in flag for flag in flags] == [False, True]


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_gradients_that_have_a_graph_are_read(tmp_path: Path) -> None:
    model = scalar(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path) as telemetry:
        model(x(1.0)).pow(2).sum().backward(create_graph=True)
        optimizer.step()
    model.weight.grad = None  # the graph and the gradient hold each other
    assert tensors(telemetry)[0, "weight", "gradient"]["sum"] == 6.0


def test_a_model_may_become_another_type_in_mid_run(tmp_path: Path) -> None:
    model = scalar(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with opened(model, optimizer, tmp_path, every=2) as telemetry:
        for _ in range(4):
            model(x(1.0).to(model.weight.dtype)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            model.bfloat16()
    rows = tensors(telemetry)
    assert [rows[step, "weight", "gradient"]["sum"] for step in (0, 2)] == [1.0, 1.0]
    assert [rows[step, "weight", "weight"]["sum"] for step in (0, 2)] == [3.0, 2.0]


def parametrized() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(4, 2)),
    )


def hooked() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the form that parametrizations replace
        return nn.Sequential(
            nn.utils.spectral_norm(nn.Linear(4, 4)), nn.utils.weight_norm(nn.Linear(4, 2))
        )


@pytest.mark.parametrize("build", [parametrized, hooked])
def test_no_power_iteration_is_made_that_training_does_not_make(
    tmp_path: Path, build: Callable[[], nn.Module]
) -> None:
    states = []
    for number in range(2):
        torch.manual_seed(0)
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        telemetry = opened(model, optimizer, tmp_path, activations=True) if number else None
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
        if telemetry is not None:
            telemetry.close()
        states.append(list(model.state_dict().values()))
    assert all(map(torch.equal, *states))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_an_unused_parameter_has_no_gradient_or_one_of_zeros(
    tmp_path: Path,
    set_to_none: bool,  # noqa: FBT001
) -> None:
    model = nn.ModuleList([scalar(1.0), scalar(1.0)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        for used in (2, 1):
            optimizer.zero_grad(set_to_none=set_to_none)
            torch.stack([part(x(3.0)).sum() for part in list(model)[:used]]).sum().backward()
            optimizer.step()
    row = tensors(telemetry)[1, "1.weight", "gradient"]
    expected = (0, None, None) if set_to_none else (1, 0.0, 1)
    assert (row["n_sampled"], row["sumsq"], row["n_zero"]) == expected
    assert column(telemetry, "grad_norm_total") == [pytest.approx(18.0**0.5), 3.0]


def test_groups_that_are_added_and_parameters_that_freeze_change_only_their_rows(
    tmp_path: Path,
) -> None:
    model = nn.Sequential(scalar(2.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        for number in range(4):
            if number == 1:
                model.append(scalar(3.0))
                optimizer.add_param_group({"params": model[1].parameters(), "lr": 0.5})
            if number >= 2:
                model[0].weight.requires_grad_(number == 3)
            optimizer.zero_grad()
            model(x(1.0)).sum().backward()
            optimizer.step()
    found = tensors(telemetry)
    gradients = {key[:2]: row["sum"] for key, row in found.items() if key[2] == "gradient"}
    # d/da = b and d/db = a, where b moves by -0.5 * a in each step from 1 on.
    assert gradients == {
        (0, "0.weight"): 1.0,
        (1, "0.weight"): 3.0,
        (1, "1.weight"): 2.0,
        (2, "1.weight"): 2.0,
        (3, "0.weight"): 1.0,
        (3, "1.weight"): 2.0,
    }
    assert [row["grad_norm_total"] for row in steps(telemetry)] == pytest.approx(
        [1.0, 13.0**0.5, 2.0, 5.0**0.5]
    )


def test_functional_calls_and_transforms_are_seen_as_far_as_they_are_real(tmp_path: Path) -> None:
    model = scalar(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    inputs = x(1.0, 2.0)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        output: Tensor = torch.func.functional_call(model, parameters, (inputs,))
        return output.sum()

    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        for transformed in (True, False):
            optimizer.zero_grad()
            parameters = dict(model.named_parameters())
            if transformed:
                model.weight.grad = torch.func.grad(loss)(parameters)["weight"].detach()
            else:
                loss(parameters).backward()
            optimizer.step()
            torch.func.vmap(model)(torch.ones(3, 2, 1))
            torch.func.jacrev(model)(torch.ones(2, 1))
    gradients = [tensors(telemetry)[step, "weight", "gradient"]["sum"] for step in range(2)]
    assert gradients == [3.0, 3.0]
    rows = [(row["root_sum"], row["samples"], row["backward_calls"]) for row in steps(telemetry)]
    assert rows == [(None, None, None), (1.5, 2, 1)]
