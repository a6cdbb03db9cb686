"""Which forwards are observed; nothing of it reaches the training or stays on the model."""

import threading
from collections.abc import Callable

import pytest
import torch
from observed import n_hooks, observed_step, rows_of, site, sites
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.checkpoint import checkpoint

from telemetry.capture.activations.observer import FAST_PATH, NOTHING_SEEN, ModuleObserver


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def is_clean(model: nn.Module) -> bool:
    return n_hooks(model) == 0 and _get_current_dispatch_mode() is None


# --- entries --------------------------------------------------------------------------------------


class Gan(nn.Module):
    """A container that is never called itself."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 1))


def test_a_container_is_entered_through_its_parts() -> None:
    model = Gan()
    noise, real = normal(6, 2), normal(6, 3)
    observer = ModuleObserver(model)
    observer.begin(0)
    with torch.no_grad():
        fake = model.generator(noise)
    loss = model.critic(real).mean() - model.critic(fake).mean()
    observer.settle("no_grad")
    observer.observe_roots([loss])
    loss.backward()
    packet = observer.end()
    rows = rows_of(model, packet)
    assert site(rows, "generator.1", phase="no_grad")["n"] == 48
    assert site(rows, "critic.0", phase="train")["n"] == 96
    assert site(rows, "critic.0", "output_grad")["n"] == 96
    assert ("generator.0", "output_grad", "train") not in rows
    assert site(rows, "critic", "input")["n"] == 36
    assert observer.execution_order.index("generator.0") < observer.execution_order.index("critic")
    assert is_clean(model)


class Parts(nn.Module):
    """Has a forward that the training loop does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.encoder(values))


def test_a_loop_that_skips_the_root_is_observed_from_the_next_sample_on() -> None:
    model = Parts()
    observer = ModuleObserver(model)

    def step(number: int) -> set[str]:
        rows = observed_step(
            model,
            lambda: model.head(model.encoder(normal(5, 4))).sum(),
            observer=observer,
            step=number,
        )
        return {path for path, _, _ in rows}

    assert step(0) == set()
    assert observer.not_observed == {"": NOTHING_SEEN}
    assert step(1) == {"encoder", "head"}
    assert observer.not_observed == {}
    assert step(2) == step(3) == {"encoder", "head"}
    assert observer.execution_order == ("encoder", "head")


def test_a_part_that_only_other_loops_call_is_searched_for_in_a_few_steps_only() -> None:
    model = Parts()
    observer = ModuleObserver(model)
    armed = []
    for step in range(6):
        observer.begin(step)
        armed.append(n_hooks(model))
        loss = model.encoder(normal(5, 4)).sum()
        observer.observe_roots([loss])
        loss.backward()
        observer.end()
    assert armed == [1, 3, 3, 3, 2, 2]


def test_a_module_that_calls_itself_is_one_forward() -> None:
    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, values: Tensor, depth: int = 2) -> Tensor:
            values = torch.relu(self.linear(values))
            return self(values, depth - 1) if depth else values

    model = Recursive()
    rows = observed_step(model, lambda: model(normal(4, 3)).sum())
    assert site(rows, "linear")["n"] == 3 * 12
    assert site(rows, "", "relu#0")["n"] == 3 * 12
    assert site(rows, "", "input")["n"] == 12
    assert is_clean(model)


def test_the_execution_order_is_that_of_the_first_calls() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 3)
            self.first = nn.Linear(3, 3)
            self.unused = nn.Linear(3, 3)

        def forward(self, values: Tensor) -> Tensor:
            return self.last(self.first(self.first(values)))

    model = Backwards()
    observer = ModuleObserver(model)
    assert observer.execution_order == ()
    observed_step(model, lambda: model(normal(4, 3)).sum(), observer=observer)
    assert observer.execution_order == ("", "first", "last")


def test_modules_that_are_put_in_later_are_observed() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    observer = ModuleObserver(model)
    observed_step(model, lambda: model(normal(4, 3)), observer=observer)
    model.append(nn.ReLU())
    rows = observed_step(model, lambda: model(normal(4, 3)), observer=observer)
    assert site(rows, "1")["n_units"] == 3


# --- phases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_forwards_without_gradient_wait_until_their_phase_is_known(
    context: Callable[[], torch.no_grad],
) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    observer = ModuleObserver(model)
    observer.begin(8)
    with context():
        model(normal(5, 3))
    assert observer.end() is None
    observer.begin(9)
    model(normal(5, 3)).sum().backward()
    observer.settle("eval", step=7)
    packet = observer.end()
    rows = rows_of(model, packet)
    waited = site(rows, "1", phase="eval")
    assert (waited["step"], site(rows, "1", phase="train")["step"]) == (7, 9)
    assert waited["n_dead"] is None
    assert site(rows, "", "logits", phase="eval")["n_units"] == 4


def test_only_the_first_forward_of_an_evaluation_is_observed() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    observer = ModuleObserver(model)
    observer.begin(0)
    with torch.no_grad():
        for _ in range(10):
            model(normal(5, 3))
    observer.settle("eval")
    with torch.no_grad():
        model(normal(5, 3))
    observer.settle("no_grad")
    rows = rows_of(model, observer.end())
    assert site(rows, "0", phase="eval")["n"] == 20
    assert site(rows, "0", phase="no_grad")["n"] == 20


def test_nothing_is_observed_before_begin_and_after_end() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    observer = ModuleObserver(model)
    model(normal(5, 3)).sum().backward()
    assert observer.end() is None
    observer.begin(0)
    assert observer.end() is None
    model(normal(5, 3)).sum().backward()
    observer.settle("eval")
    observer.observe_roots([normal(1)])
    assert observer.end() is None


def test_begin_without_end_leaves_one_set_of_hooks() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    observer = ModuleObserver(model)
    observer.begin(0)
    observer.begin(1)
    assert n_hooks(model) == 1
    observer.end()
    assert is_clean(model)


# --- what is left alone ---------------------------------------------------------------------------


def test_other_threads_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    observer = ModuleObserver(model)
    observer.begin(0)
    results: list[Tensor] = []
    thread = threading.Thread(target=lambda: results.append(model(normal(5, 3)).sum()))
    thread.start()
    thread.join()
    assert len(results) == 1
    assert observer.end() is None


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_a_checkpoint_recomputes_is_not_counted_twice(*, use_reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.5))
            self.head = nn.Linear(4, 2)

        def forward(self, values: Tensor) -> Tensor:
            hidden = checkpoint(self.inner, values, use_reentrant=use_reentrant)
            return self.head(functional.relu(hidden))

    model = Checkpointed()
    inputs = normal(5, 4).requires_grad_()
    rows = observed_step(model, lambda: model(inputs).sum())
    assert site(rows, "inner.0")["n"] == 20
    assert site(rows, "inner.1")["phase"] == "train"
    assert site(rows, "", "relu#0")["n"] == 20
    assert is_clean(model)


def test_functional_transforms_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    parameters = dict(model.named_parameters())
    observer = ModuleObserver(model)
    observer.begin(0)

    def loss(values: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, values, (row,)).sum()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, normal(5, 3))
    assert gradients["0.weight"].shape == (5, 2, 3)
    assert observer.end() is None


def test_tracing_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    observer = ModuleObserver(model)
    observer.begin(0)
    graph = torch.fx.experimental.proxy_tensor.make_fx(model)(normal(5, 3))
    names = {node.name for node in graph.graph.nodes}
    assert not any("amin" in name or "norm" in name for name in names)
    assert observer.end() is None


def test_evaluation_keeps_the_fused_kernel_of_the_transformer() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), layer).eval()
    inputs = normal(2, 5, 8)
    with torch.no_grad():
        plain = model(inputs)
    observer = ModuleObserver(model)
    observer.begin(0)
    with torch.no_grad():
        observed = model(inputs)
    observer.settle("eval")
    rows = rows_of(model, observer.end())
    assert torch.equal(plain, observed)
    assert {path for path, _, _ in rows} == {"", "0"}
    assert observer.not_observed["1"] == FAST_PATH


def test_scripted_modules_are_named_as_not_observed() -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(nn.Linear(3, 3), normal(2, 3))
    model = nn.Sequential(nn.Linear(3, 3), scripted)
    observer = ModuleObserver(model)
    rows = observed_step(model, lambda: model(normal(2, 3)).sum(), observer=observer)
    assert sites(rows, "0") == {"output", "output_grad"}
    assert sites(rows, "1") == set()
    assert set(observer.not_observed) == {"1"}
