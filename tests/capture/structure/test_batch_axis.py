"""What runs over the batch is told where batch and sequence can be told apart."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.structure.batch_axis import (
    SEQUENCES,
    SequenceCall,
    batch_axis,
    sequence_call,
)
from telemetry.capture.structure.graph import graph_of

pytestmark = pytest.mark.torch
B, T, F, H, C = 6, 4, 3, 5, 2


def n_over(model: nn.Module, inputs: Tensor, loss: Callable[[], Tensor]) -> int | None:
    """Sites that run over the batch, in one forward of a model."""
    calls: list[SequenceCall] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        call = sequence_call("", module, args[0])
        calls.extend([call] if call is not None else [])

    for module in model.modules():
        if isinstance(module, SEQUENCES):
            module.register_forward_pre_hook(note)
    graph = graph_of([loss()], limit=1000)
    assert graph is not None
    found = batch_axis(graph, len(inputs), calls)
    return None if found is None else found.n_sites


class Net(nn.Module):
    """Layers over sequences, then a head."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(H, C)

    def states(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            is_attention = isinstance(layer, nn.MultiheadAttention)
            x = layer(x, x, x)[0] if is_attention else layer(x)[0]
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.states(x))
        return out


def gru(*, batch_first: bool, n_in: int = F) -> nn.Module:
    return nn.GRU(n_in, H, batch_first=batch_first)


def classified(net: Net, x: Tensor, place: Callable[[Tensor], Tensor]) -> int | None:
    def loss() -> Tensor:
        out = place(net(x))
        return functional.cross_entropy(out, torch.zeros(len(out), dtype=torch.long))

    return n_over(net, x, loss)


def last(out: Tensor) -> Tensor:
    return out[:, -1]


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_recurrent_layer(kind: str, batch_first: bool) -> None:  # noqa: FBT001
    net = Net(getattr(nn, kind)(F, H, batch_first=batch_first))
    assert classified(net, torch.randn(B, T, F), last) == (not batch_first)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention(batch_first: bool) -> None:  # noqa: FBT001
    net = Net(nn.MultiheadAttention(H, 1, batch_first=batch_first))
    assert classified(net, torch.randn(B, T, H), last) == (not batch_first)


def test_sequences_that_come_with_time_first() -> None:
    assert classified(Net(gru(batch_first=False)), torch.randn(T, B, F), lambda out: out[-1]) == 0


def test_time_first_and_a_loss_of_each_place() -> None:
    net, x = Net(gru(batch_first=False)), torch.randn(T, B, F)

    def loss() -> Tensor:
        scores = net(x).permute(0, 2, 1)  # classes second
        return functional.cross_entropy(scores, torch.zeros(T, B, dtype=torch.long))

    assert n_over(net, x, loss) is None


def test_each_place_as_a_row_tells_nothing() -> None:
    net = Net(gru(batch_first=False))
    assert classified(net, torch.randn(B, T, F), lambda out: out.flatten(0, 1)) is None


def test_a_batch_as_large_as_its_sequences_are_long_tells_nothing() -> None:
    assert classified(Net(gru(batch_first=False)), torch.randn(B, B, F), last) is None


def test_one_sequence_alone() -> None:
    net = Net(gru(batch_first=False))
    assert classified(net, torch.randn(B, 1, F), lambda out: out[:, 0]) is None


def test_both_axes_in_turn_are_meant() -> None:
    net = Net(gru(batch_first=True), gru(batch_first=False, n_in=H))
    assert classified(net, torch.randn(B, T, F), last) == 0


SOFTMAXES: dict[str, tuple[Sequence[int], int, int | None]] = {
    "over the batch": ((B, C), 0, 1),
    "over the classes": ((B, C), 1, 0),
    "over the scores of a list": ((B, 1), 0, 0),
    "over all pairs": ((B, B), 0, 0),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax(name: str) -> None:
    (n, width), dim, expected = SOFTMAXES[name]
    layer, x = nn.Linear(F, width), torch.randn(n, F)
    targets = torch.zeros(n, dtype=torch.long)
    found = n_over(layer, x, lambda: functional.nll_loss(layer(x).log_softmax(dim), targets))
    assert found == expected


def test_the_softmax_of_a_bag_of_instances() -> None:
    """One answer for all rows of the input."""
    score, head, bag = nn.Linear(F, 2), nn.Linear(F, C), torch.randn(B, F)

    def loss() -> Tensor:
        weights = score(bag).softmax(0)
        return functional.cross_entropy(head(weights.T @ bag)[:1], torch.zeros(1).long())

    assert n_over(score, bag, loss) is None
