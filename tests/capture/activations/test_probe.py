"""A probe records activations of a fixed batch and leaves no trace in the training."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import Training, images, mlp, records, vectors
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.capture.catalogue.catalogue import hash_id
from telemetry.errors import UsageError

N_STEPS = 5


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Wild(nn.Module):
    """Changes whatever a forward can change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(1, 6, 3, padding=1))
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        self.calls = 0
        self.kept: list[float] = []
        self.cache: dict[str, Tensor] = {}
        self.memory = torch.zeros(6)  # neither buffer nor parameter
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        self.calls += 1
        values.add_(1)
        self.kept.append(random.random() + float(np.random.rand()))  # noqa: NPY002, S311
        hidden = functional.relu(self.norm(self.conv(values)), inplace=True).mean(dim=(2, 3))
        self.cache["hidden"] = hidden.detach()
        self.memory += hidden.detach().mean(dim=0)
        self.seen = self.seen + 1
        self.head.train(mode=True)
        return self.head(functional.dropout(hidden + self.memory, 0.2, self.training))


def own_images(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs, labels = images(generator)
    return inputs.clone(), labels


def everything(training: Training) -> list[object]:
    """What training determines, and what it leaves behind elsewhere."""
    model = training.model
    own: list[object] = [random.random(), float(np.random.rand())]  # noqa: NPY002, S311
    for module in model.modules():
        own += [name for name, _ in module.named_modules()]
        own += [module.training, len(module._forward_hooks), len(module._forward_pre_hooks)]
    if isinstance(model, Wild):
        own += [model.calls, *model.kept, *model.cache["hidden"].flatten().tolist()]
        own += model.memory.tolist()
    return [*own, *(tensor.tolist() for tensor in training.state())]


def trained(
    training: Training, store: Path | None, *, compiled: str | None = None, **options: object
) -> Path | None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if store is None:
        if compiled is not None:
            training.model.compile(backend=compiled)
        for _ in training.steps(N_STEPS):
            pass
        return None
    with TelemetryCallback(
        training.model,
        training.optimizer,
        store=store,
        every=2,
        overhead_budget=None,
        strict=True,
        **options,  # type: ignore[arg-type]
    ) as telemetry:
        if compiled is not None:
            training.model.compile(backend=compiled)
        for loss in training.steps(N_STEPS):
            telemetry.step(loss=loss)
        return telemetry.path


CASES: list[tuple[Callable[[], nn.Module], Callable[[torch.Generator], tuple[Tensor, Tensor]]]] = [
    (mlp, vectors),
    (Wild, own_images),
]


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize(("build", "batch"), CASES)
def test_training_is_bit_identical(
    build: Callable[[], nn.Module],
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    tmp_path: Path,
    *,
    activations: bool,
) -> None:
    plain = Training(build, batch)
    trained(plain, None)
    expected = everything(plain)
    probed = Training(build, batch)
    probe = batch(torch.Generator().manual_seed(9))[0]
    run = trained(probed, tmp_path, probe=probe, activations=activations)
    assert run is not None
    assert everything(probed) == expected
    rows = [row for row in records(run, "module_stats") if row["phase"] == "probe"]
    assert {row["step"] for row in rows} == {0, 2, 4}


class Scaled(nn.Module):
    """Its activations follow from the weight, which SGD lowers by 1 in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([4.0, -4.0]))
        self.act = nn.ReLU()

    def forward(self, values: Tensor, *, factor: Tensor | float = 1.0) -> Tensor:
        return self.act(values * self.weight) * factor


def scaled_run(store: Path, *, compiled: bool, probe: object) -> list[dict[str, object]]:
    """Rows of `act` on the phase probe: three steps of SGD with gradient (1, 1), rate 1."""
    model = Scaled()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with TelemetryCallback(
        model, optimizer, store=store, every=1, overhead_budget=None, strict=True, probe=probe
    ) as telemetry:
        run = torch.compile(model, backend="eager") if compiled else model
        for _ in range(3):
            loss = run(torch.ones(3, 2)).sum()
            optimizer.zero_grad()
            model.weight.grad = torch.ones(2)
            optimizer.step()
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        path = telemetry.path
    act = hash_id("act")
    rows = [row for row in records(path, "module_stats") if row["phase"] == "probe"]
    return [row for row in rows if row["module_id"] == act and row["site"] == "output"]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_rows_are_those_of_the_batch_at_the_weights_of_the_step(
    form: str, tmp_path: Path, *, compiled: bool
) -> None:
    batch = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    probe = {"tensor": batch, "tuple": (batch,), "dict": {"values": batch, "factor": 2.0}}[form]
    rows = scaled_run(tmp_path, compiled=compiled, probe=probe)
    batch.zero_()  # the callback has a copy
    assert [row["step"] for row in rows] == [0, 1, 2]
    # Weights (4, -4), (3, -5), (2, -6): ReLU gives (w, 0) and (2 w, 0); the second unit is dead.
    assert [row["sum"] for row in rows] == [12.0, 9.0, 6.0]
    assert [row["max"] for row in rows] == [8.0, 6.0, 4.0]
    assert {(row["n"], row["n_zero"], row["n_units"], row["n_dead"]) for row in rows} == {
        (4, 2, 2, 1)
    }
    # Death is of this batch alone: two positions, however often it is seen.
    assert {row["window_samples"] for row in rows} == {2}
    assert {row["dead"] for row in rows} == {b"\x02"}


def test_compiled_parts_are_seen_by_the_probe_and_nothing_is_compiled_again(
    tmp_path: Path,
) -> None:
    n_graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        del inputs
        n_graphs.append(1)
        return graph.forward

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrapped = torch.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), backend=backend)
            self.placed = nn.Linear(8, 4)

        def forward(self, values: Tensor) -> Tensor:
            return functional.tanh(self.placed(self.wrapped(values)))

    training = Training(Net, vectors)
    optimizer = training.optimizer
    with TelemetryCallback(
        training.model,
        optimizer,
        store=tmp_path,
        every=2,
        overhead_budget=None,
        strict=True,
        probe=torch.ones(2, 8),
    ) as telemetry:
        training.model = torch.compile(training.model, backend=backend)  # type: ignore[assignment]
        for loss in training.steps(N_STEPS):
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        path = telemetry.path
    assert len(n_graphs) == 1
    names = {row["module_id"]: row["path"] for row in records(path, "modules")}
    probed = {
        (names[row["module_id"]], row["site"])
        for row in records(path, "module_stats")
        if row["phase"] == "probe"
    }
    assert {
        ("", "input"), ("", "tanh#0"), ("placed", "output"),
        ("wrapped.0", "output"), ("wrapped.1", "output"),
    } <= probed  # fmt: skip
    depths = {row["path"]: row["depth"] for row in records(path, "modules")}
    assert depths["wrapped.0"] < depths["wrapped.1"] < depths["placed"]
    told = [row["message"] for row in records(path, "events") if row["kind"] == "not_observed"]
    assert len(told) == 2  # the whole, and the part that was already compiled
    assert all("phase probe" in str(message) for message in told)


def test_hooks_of_the_user_do_not_run_in_the_probe(tmp_path: Path) -> None:
    called: list[int] = []
    training = Training(mlp, vectors)
    training.model[0].register_forward_hook(lambda *_: called.append(1))
    handle = nn.modules.module.register_module_forward_hook(lambda *_: called.append(0))
    try:
        trained(training, tmp_path, probe=torch.ones(2, 8))
    finally:
        handle.remove()
    n_modules = len(list(training.model.modules()))
    assert called.count(1) == N_STEPS
    assert called.count(0) == N_STEPS * n_modules


def test_a_probe_beside_a_graph_that_waits_for_its_backward_pass(tmp_path: Path) -> None:
    """BatchNorm's buffers are saved for backward; a second optimizer steps before it runs."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    other = nn.Linear(4, 1)
    first = torch.optim.SGD(other.parameters(), lr=0.1)
    second = torch.optim.SGD(model.parameters(), lr=0.1)
    with TelemetryCallback(
        model,
        [first, second],
        store=tmp_path,
        every=1,
        overhead_budget=None,
        strict=True,
        probe=torch.ones(3, 4),
    ) as telemetry:
        for _ in range(3):
            loss = model(torch.randn(5, 4)).square().sum()
            first.step()
            loss.backward()
            second.step()
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        path = telemetry.path
    steps = {r["step"] for r in records(path, "module_stats") if r["phase"] == "probe"}
    assert steps == {0, 1, 2}


class Failing(nn.Module):
    """Cannot take a batch of three."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.n_threes = 0

    def forward(self, values: Tensor) -> Tensor:
        values = self.norm(values)
        if len(values) == 3:
            self.n_threes += 1
            raise ValueError("three")
        return values


class Writing(nn.Module):
    """Its forward writes into a parameter, as no buffer would be told apart."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.how = how

    def forward(self, values: Tensor) -> Tensor:
        if self.how == "data":
            self.weight.data.mul_(0.5)
        elif not torch.is_grad_enabled():
            self.weight.mul_(0.5)
        return values * self.weight


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (Failing, "ValueError: three"),
        (lambda: Writing("data"), "writes into weight"),
        (lambda: Writing("plain"), "writes into weight"),
    ],
)
def test_a_probe_that_cannot_work_switches_itself_off_and_leaves_no_trace(
    build: Callable[[], nn.Module], said: str, tmp_path: Path
) -> None:
    def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        values = torch.randn(6, 4, generator=generator)
        return values, torch.randint(4, (6,), generator=generator)

    plain, probed = Training(build, batch), Training(build, batch)
    trained(plain, None)
    expected = everything(plain)
    with TelemetryCallback(
        probed.model,
        probed.optimizer,
        store=tmp_path,
        every=1,
        overhead_budget=None,
        probe=torch.ones(3, 4),
    ) as telemetry:
        for loss in probed.steps(N_STEPS):
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        path = telemetry.path
    assert everything(probed)[2:] == expected[2:]
    assert getattr(probed.model, "n_threes", 0) == 0
    events = [row for row in records(path, "events") if row["kind"] == "telemetry_error"]
    assert [str(row["message"]).startswith("probe switched off") for row in events] == [True]
    assert said in str(events[0]["message"])
    assert {row["step"] for row in records(path, "tensor_stats")} == set(range(N_STEPS))


def test_a_probe_without_an_observed_step_runs_when_the_step_ends(tmp_path: Path) -> None:
    """The optimizer steps inside the backward pass, where no forward may run."""
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.bias.register_post_accumulate_grad_hook(lambda _: optimizer.step())
    with TelemetryCallback(
        model,
        optimizer,
        store=tmp_path,
        every=1,
        overhead_budget=None,
        strict=True,
        probe=torch.ones(3, 4),
    ) as telemetry:
        for _ in range(3):
            loss = model(torch.ones(5, 4)).sum()
            loss.backward()
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        path = telemetry.path
    assert any(row["phase"] == "probe" for row in records(path, "module_stats"))


@pytest.mark.parametrize("wrong", [3, "batch", np.ones(3), {1: torch.ones(2)}, iter([1])])
def test_what_is_no_batch_is_a_type_error(wrong: object) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"probe is a .*, expected a tensor"):
        TelemetryCallback(model, torch.optim.SGD(model.parameters()), probe=wrong)


@pytest.mark.parametrize("empty", [(), {}, [1, 2], {"values": None}])
def test_a_batch_without_a_tensor_is_a_usage_error(empty: object) -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="contains no tensor"):
        TelemetryCallback(model, torch.optim.SGD(model.parameters()), probe=empty)
