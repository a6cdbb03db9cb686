"""Views that tear samples apart are told from views that keep them whole."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from telemetry.capture.structure.graph import graph_of
from telemetry.capture.structure.torn_batch import (
    TornView,
    states_of,
    torn_input,
    torn_views,
)

pytestmark = pytest.mark.torch
B, T, F, H, L = 6, 4, 3, 8, 2


def torn(make: Callable[[Tensor], Tensor], x: Tensor, *layers: nn.Module) -> tuple[TornView, ...]:
    """Views in the graph of what is made of a batch, after these recurrent layers."""
    states: dict[object, int] = {}
    for layer in layers:
        layer.register_forward_hook(
            lambda module, _, result: states.update(states_of(module, result))
        )
    graph = graph_of([make(x).square().sum()], limit=1000)
    assert graph is not None
    return torn_views(graph, len(x), states, [x])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
def test_states_of_all_layers_side_by_side(
    kind: type[nn.RNNBase],
    batch_first: bool,  # noqa: FBT001
) -> None:
    layer = kind(F, H, num_layers=L, batch_first=batch_first)
    x = torch.randn(B, T, F) if batch_first else torch.randn(T, B, F)

    def states(x: Tensor) -> Tensor:
        found = layer(x)[1]
        state: Tensor = found[0] if isinstance(found, tuple) else found
        return state

    expected = (TornView(before=(L, B, H), after=(B, L * H)),)
    assert torn(lambda x: states(x).view(B, L * H), x, layer) == expected
    assert torn(lambda x: states(x).tanh().reshape(B, -1), x, layer) == expected
    assert torn(lambda x: states(x).transpose(0, 1).reshape(B, -1), x, layer) == ()
    assert torn(lambda x: states(x).permute(1, 2, 0).reshape(B, -1), x, layer) == ()
    assert torn(lambda x: states(x).view(L * B, H), x, layer) == ()


def test_an_output_with_time_first() -> None:
    layer = nn.GRU(F, H)
    x = torch.randn(T, B, F)
    assert torn(lambda x: layer(x)[0].reshape(B, T * H), x, layer)
    assert not torn(lambda x: layer(x)[0].view(T * B, H), x, layer)
    assert not torn(lambda x: layer(x)[0].view(T, B * 2, H // 2), x, layer)  # heads


def test_rows_of_a_product_and_of_an_embedding() -> None:
    linear, table = nn.Linear(F, T * H), nn.Embedding(9, H)
    x, tokens = torch.randn(B, F), torch.randint(9, (B, T))
    assert torn(lambda x: linear(x).view(T, B, H), x)
    assert torn(lambda x: linear(x).view(T * H, B), x)  # t() was meant
    assert not torn(lambda x: linear(x).view(B, T, H), x)
    assert not torn(lambda x: linear(x).view(B * T, H), x)
    assert not torn(lambda x: linear(x).view(B // 2, 2 * T * H), x)  # pairs of whole samples
    assert torn(lambda x: table(x).view(T, B, H), tokens)
    assert not torn(lambda x: table(x).transpose(0, 1).reshape(T * B, H), tokens)


@pytest.mark.parametrize(
    ("view", "is_torn"),
    [
        (lambda x: x.view(T, B, F), True),
        (lambda x: x.view(B, T, F), False),
        (lambda x: x.view(B, T, F).transpose(0, 1), False),
        (lambda x: x.view(B * T, F), False),
        (lambda x: x.view(B, 1, T * F), False),
        (lambda x: x[:, :F], False),
        (lambda x: x, False),
    ],
)
def test_a_view_of_the_input_that_a_layer_is_given(
    view: Callable[[Tensor], Tensor],
    is_torn: bool,  # noqa: FBT001
) -> None:
    x = torch.randn(B, T * F)
    assert (torn_input(view(x), [x]) is not None) == is_torn


def test_one_sample_and_other_tensors_are_never_torn() -> None:
    one, other = torch.randn(1, T * F), torch.randn(B, T * F)
    assert torn_input(one.view(T, 1, F), [one]) is None
    assert torn_input(other.view(T, B, F), [one]) is None
