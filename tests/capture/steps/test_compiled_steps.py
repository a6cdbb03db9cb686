"""Compiled models, optimizers and training steps: recorded as eager ones, compiled as without."""

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.format.tables import table

# Raised by dynamo when it looks at an input that is no leaf, with telemetry or without.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

N_STEPS = 7
EVERY = 3  # sampled and unsampled steps in turn

Graph = torch.fx.GraphModule
Step = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """Holds what may be compiled on its own: itself, or a helper that calls modules."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def normed(self, values: Tensor) -> Tensor:
        return self.norm(values)

    def forward(self, values: Tensor) -> Tensor:
        return functional.relu(self.normed(values))


class Net(nn.Module):
    """Dropout draws random numbers, BatchNorm keeps buffers, the activation is functional."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.block = Block()
        self.head = nn.Linear(8, 2)

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.block(self.first(values))
        return self.head(functional.dropout(hidden, 0.25, self.training))


class Backend:
    """Runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.n_graphs = 0

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        del inputs
        self.n_graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Loop:
    """A seeded training of a `Net`, of which `compile` names the part that is compiled."""

    def __init__(self, compile_what: str, backend: object, *, fullgraph: bool = False) -> None:
        torch.manual_seed(0)
        self.net = Net()
        # Compiled, Adam corrects its bias in tensors instead of floats: its numbers differ by that.
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-2, momentum=0.9)
        self._what = compile_what
        self._device = "cpu"
        self._compile = functools.partial(torch.compile, backend=backend, fullgraph=fullgraph)
        self._options = {"backend": backend, "fullgraph": fullgraph}
        self._forward: Step = self.net
        self._update: Callable[[], object] = self.optimizer.step
        self._step: Step = self.plain_step

    def compile(self) -> None:
        """Compile what was chosen."""
        if self._what == "model":
            self._forward = self._compile(self.net)
        elif self._what == "in place":
            self.net.compile(**self._options)
        elif self._what == "part":
            self.net.block = self._compile(self.net.block)
        elif self._what == "part in place":
            self.net.block.compile(**self._options)
        elif self._what == "optimizer":
            self._update = self._compile(self.optimizer.step)
        elif self._what == "step":
            self._step = self._compile(self.plain_step)

    def use_cuda_graphs(self) -> None:
        """Train on the GPU, compiled to CUDA graphs."""
        self._device = "cuda"
        self.net.to(self._device)
        self._compile = functools.partial(torch.compile, mode="reduce-overhead")

    def run(self, telemetry: TelemetryCallback | None, n_steps: int = N_STEPS) -> None:
        generator = torch.Generator().manual_seed(1)
        for _ in range(n_steps):
            values = torch.randn(16, 4, generator=generator)
            loss = self._step(values.to(self._device))
            if telemetry is not None:
                telemetry.step(loss=loss)

    def plain_step(self, values: Tensor) -> Tensor:
        loss = self._forward(values).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self._update()
        return loss.detach()

    def state(self) -> list[Tensor]:
        """Weights, buffers, optimizer state and random state."""
        kept = [v for entry in self.optimizer.state.values() for v in entry.values()]
        return [*self.net.state_dict().values(), *kept, torch.get_rng_state()]


def recorded(loop: Loop, store: Path, *, compiled_first: bool = False) -> Path:
    """Train with a callback, made before or after compilation."""
    if compiled_first:
        loop.compile()
    with TelemetryCallback(
        loop.net, loop.optimizer, store=store, every=EVERY, overhead_budget=None, strict=True
    ) as telemetry:
        if not compiled_first:
            loop.compile()
        loop.run(telemetry)
        assert telemetry.path is not None
        return telemetry.path


def statistics(run: Path) -> dict[tuple[object, ...], dict[str, object]]:
    """Rows of tensor_stats by step, tensor and kind."""
    keys = table("tensor_stats").sort
    return {tuple(row[key] for key in keys): row for row in records(run, "tensor_stats")}


WAYS = ["model", "in place", "part", "part in place", "optimizer", "step"]


@pytest.mark.parametrize("compiled_first", [False, True])
@pytest.mark.parametrize("what", WAYS)
def test_statistics_of_parameters_are_those_of_an_eager_run(
    what: str, tmp_path: Path, *, compiled_first: bool
) -> None:
    eager = recorded(Loop("nothing", None), tmp_path / "eager")
    compiled = recorded(Loop(what, "eager"), tmp_path / "run", compiled_first=compiled_first)
    rows = statistics(compiled)
    assert {row["step"] for row in rows.values()} == {0, 3, 6}
    assert rows == statistics(eager)
    losses = [row["loss"] for row in records(compiled, "steps")]
    assert losses == [row["loss"] for row in records(eager, "steps")]
    assert len(losses) == N_STEPS


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("what", WAYS)
def test_nothing_is_compiled_again_and_training_is_bit_identical(
    what: str, tmp_path: Path, *, fullgraph: bool
) -> None:
    if fullgraph and what in {"optimizer", "step"}:
        pytest.skip("torch itself breaks the graph in each backward pass and optimizer step")
    alone, watched = Backend(), Backend()
    plain = Loop(what, alone, fullgraph=fullgraph)
    plain.compile()
    plain.run(None)
    expected = plain.state()
    torch.compiler.reset()
    loop = Loop(what, watched, fullgraph=fullgraph)
    recorded(loop, tmp_path)
    assert watched.n_graphs == alone.n_graphs > 0
    assert all(torch.equal(a, b) for a, b in zip(loop.state(), expected, strict=True))


def test_statistics_under_autograd_ahead_of_time(tmp_path: Path) -> None:
    eager = statistics(recorded(Loop("nothing", None), tmp_path / "eager"))
    assert statistics(recorded(Loop("model", "aot_eager"), tmp_path / "run")) == eager


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_statistics_under_inductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.fallback_random", True)  # the same dropout
    eager = statistics(recorded(Loop("nothing", None), tmp_path / "eager"))
    compiled = statistics(recorded(Loop("model", "inductor"), tmp_path / "run"))
    assert compiled.keys() == eager.keys()
    for key, row in compiled.items():
        for name in ("sumsq", "min", "max"):
            assert row[name] == pytest.approx(eager[key][name], rel=1e-3, abs=1e-6), (key, name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_statistics_beside_cuda_graphs(tmp_path: Path) -> None:
    def moved(what: str) -> Loop:
        loop = Loop(what, "inductor")
        loop.use_cuda_graphs()
        return loop

    eager = statistics(recorded(moved("nothing"), tmp_path / "eager"))
    compiled = statistics(recorded(moved("model"), tmp_path / "run"))
    assert compiled.keys() == eager.keys()
    for key, row in compiled.items():
        # Dropout draws other numbers there, but weights cannot drift far in seven steps.
        if row["kind"] == "weight":
            assert row["sumsq"] == pytest.approx(eager[key]["sumsq"], rel=0.1, abs=1e-2)


@pytest.mark.parametrize("what", ["model", "optimizer"])
def test_what_ran_compiled_before_the_callback_is_recorded_too(what: str, tmp_path: Path) -> None:
    backend = Backend()
    loop = Loop(what, backend)
    loop.compile()
    loop.run(None, n_steps=2)
    n_graphs = backend.n_graphs
    with TelemetryCallback(
        loop.net, loop.optimizer, store=tmp_path, every=1, overhead_budget=None, strict=True
    ) as telemetry:
        loop.run(telemetry, n_steps=3)
        assert telemetry.path is not None
        run = telemetry.path
    loop.run(None, n_steps=2)
    assert backend.n_graphs == n_graphs
    assert {row["step"] for row in records(run, "tensor_stats")} == {0, 1, 2}


def test_a_compiled_helper_is_compiled_at_most_twice(tmp_path: Path) -> None:
    # Nothing tells that a method is compiled; hooks on what it calls come and go with samples.
    backend = Backend()
    loop = Loop("nothing", backend)
    loop.net.block.normed = torch.compile(loop.net.block.normed, backend=backend)
    recorded(loop, tmp_path)
    assert backend.n_graphs <= 2


def test_the_callback_may_be_called_in_a_compiled_step(tmp_path: Path) -> None:
    loop = Loop("step", "eager")
    with TelemetryCallback(
        loop.net, loop.optimizer, store=tmp_path, every=EVERY, overhead_budget=None, strict=True
    ) as telemetry:

        @torch.compile(backend="eager")
        def step(values: Tensor) -> Tensor:
            loss = loop.plain_step(values)
            telemetry.step(loss=loss)
            telemetry.log(seen=loss)
            return loss

        losses = [step(torch.full((16, 4), 1.0 + i)).item() for i in range(N_STEPS)]
        assert telemetry.path is not None
        run = telemetry.path
    assert [row["loss"] for row in records(run, "steps")] == losses
    assert {row["step"] for row in records(run, "tensor_stats")} == {0, 3, 6}
    seen = [row["value"] for row in records(run, "metrics") if row["name"] == "seen"]
    assert seen == losses


@pytest.mark.parametrize("what", ["model", "in place", "step"])
def test_a_compiled_model_is_told_once_as_not_observed_and_has_no_rows(
    what: str, tmp_path: Path
) -> None:
    run = recorded(Loop(what, "eager"), tmp_path)
    told = [str(row["message"]) for row in records(run, "events") if row["kind"] == "not_observed"]
    assert len(told) == 1
    assert "compiled by torch.compile" in told[0]
    assert "probe=batch" in told[0]
    sites = {row["site"] for row in records(run, "module_stats")}
    assert sites <= {"logits", "target"}
