"""Compiled regions: they are compiled and run as without telemetry, and named as not observed."""

from collections.abc import Callable, Iterator

import pytest
import torch
from observed import n_hooks, rows_of, site, sites
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.activations.modules import COMPILED
from telemetry.capture.activations.observer import NOTHING_SEEN, ModuleObserver


class Net(nn.Module):
    """A linear layer, an activation that may be compiled, and a head."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.activation = activation

    def forward(self, values: Tensor) -> Tensor:
        return self.head(functional.relu(self.activation(self.first(values))))


class Backend:
    """Runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.n_graphs = 0

    def __call__(
        self, graph: torch.fx.GraphModule, inputs: list[Tensor]
    ) -> Callable[..., tuple[Tensor, ...]]:
        del inputs
        self.n_graphs += 1
        return graph.forward


@pytest.fixture
def backend() -> Iterator[Backend]:
    torch.compiler.reset()
    yield Backend()
    torch.compiler.reset()


def whole(net: Net, backend: Backend) -> Callable[[Tensor], Tensor]:
    return torch.compile(net, backend=backend, fullgraph=True)


def in_place(net: Net, backend: Backend) -> Callable[[Tensor], Tensor]:
    net.compile(backend=backend, fullgraph=True)
    return net


def forward_alone(net: Net, backend: Backend) -> Callable[[Tensor], Tensor]:
    net.forward = torch.compile(net.forward, backend=backend, fullgraph=True)
    return net


def around(net: Net, backend: Backend) -> Callable[[Tensor], Tensor]:
    return torch.compile(lambda values: net(values) * 2, backend=backend, fullgraph=True)


@pytest.mark.parametrize("how", [whole, in_place, forward_alone, around])
@pytest.mark.parametrize("sampled", [[0, 0, 1, 0, 1, 1], [1, 0, 1, 1]])
def test_sampling_compiles_nothing_again(
    how: Callable[[Net, Backend], Callable[[Tensor], Tensor]],
    sampled: list[int],
    backend: Backend,
) -> None:
    net = Net()
    observer = ModuleObserver(net)
    handles = observer.attach()
    run = how(net, backend)
    for step, is_sampled in enumerate(sampled):
        if is_sampled:
            observer.begin(step)
        loss = run(torch.ones(3, 4)).sum()
        observer.observe_roots([loss])
        loss.backward()
        packet = observer.end()
        assert "first" not in {path for path, _, _ in rows_of(net, packet)}
    assert backend.n_graphs == 1
    assert set(observer.not_observed) == {""}
    assert observer.not_observed[""] in {COMPILED, NOTHING_SEEN}
    for handle in handles:
        handle.remove()
    assert n_hooks(net) == 0


def test_a_compiled_part_is_named_and_the_rest_observed(backend: Backend) -> None:
    net = Net()
    net.first = torch.compile(net.first, backend=backend, fullgraph=True)
    observer = ModuleObserver(net)
    for step in range(4):
        observer.begin(step)
        loss = net(torch.ones(3, 4)).sum()
        observer.observe_roots([loss])
        loss.backward()
        rows = rows_of(net, observer.end())
        assert site(rows, "head")["n"] == 6
        assert sites(rows, "first") == set()
        assert "relu#0" in sites(rows, "")
    assert backend.n_graphs == 1
    assert observer.not_observed == {"first": COMPILED}
    assert n_hooks(net) == 0


# Raised by dynamo when it looks at an input that is no leaf, with telemetry or without.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("is_sampled_first", [True, False])
def test_a_compiled_function_in_a_forward_is_compiled_under_the_mode(
    *, is_sampled_first: bool, backend: Backend
) -> None:
    net = Net(torch.compile(lambda values: values.sin() * 2, backend=backend, fullgraph=True))
    observer = ModuleObserver(net)
    inputs = torch.ones(3, 4)
    for step in range(4):
        if step % 2 == (0 if is_sampled_first else 1):
            observer.begin(step)
        net(inputs).sum().backward()
        packet = observer.end()
        if packet is not None:
            assert "relu#0" in sites(rows_of(net, packet), "")
    assert backend.n_graphs == 1
