"""Linear layers in a row are found by the graph; factorisations and their like are none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from telemetry.capture.structure.graph import graph_of
from telemetry.capture.structure.linear_maps import linear_maps

pytestmark = pytest.mark.torch
ROWS = torch.randn(6, 8)
IMAGES = torch.randn(4, 3, 8, 8)
SERIES = torch.randn(5, 7, 8)


def n_pairs(output: Tensor) -> int:
    graph = graph_of([output.square().mean()], limit=1000)
    assert graph is not None
    return len(linear_maps(graph).pairs)


def stack(*layers: nn.Module, inputs: Tensor = ROWS) -> Tensor:
    out: Tensor = nn.Sequential(*layers)(inputs)
    return out


def wide(n_in: int = 8, n_out: int = 8) -> nn.Module:
    return nn.Linear(n_in, n_out)


IN_A_ROW: dict[str, Callable[[], Tensor]] = {
    "two linear layers": lambda: stack(wide(8, 16), wide(16, 2)),
    "over the places of a sequence": lambda: stack(wide(8, 16), wide(16, 2), inputs=SERIES),
    "without biases": lambda: stack(nn.Linear(8, 9, bias=False), nn.Linear(9, 8, bias=False)),
    "a functional dropout": lambda: wide()(functional.dropout(wide()(ROWS), 0.5)),
    "a dropout module": lambda: stack(wide(), nn.Dropout(0.3), wide()),
    "batch norm": lambda: stack(wide(), nn.BatchNorm1d(8), wide()),
    "a constant": lambda: wide()(2 * wide()(ROWS) / 3 - 1),
    "the mean over a sequence": lambda: wide()(wide()(SERIES).mean(1)),
    "two convolutions": lambda: stack(
        nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.Conv2d(8, 8, 2), inputs=IMAGES
    ),
    "a convolution and a linear layer": lambda: stack(
        nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5), inputs=IMAGES
    ),
    "matrices by hand": lambda: ROWS @ torch.randn(8, 9).requires_grad_() @ weight(9, 8),
}


def weight(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def adapted() -> Tensor:
    """A frozen layer and a low-rank adapter beside it."""
    frozen = wide().requires_grad_(requires_grad=False)
    out: Tensor = frozen(ROWS) + nn.Linear(2, 8)(nn.Linear(8, 2)(ROWS))
    return out


def tied() -> Tensor:
    words = nn.Embedding(11, 8)
    hidden = wide()(words(torch.randint(11, (4, 5))))
    return functional.linear(hidden, words.weight)


def shared() -> Tensor:
    first = wide()(ROWS)
    out: Tensor = first + wide()(first)
    return out


def twice() -> Tensor:
    layer = wide()
    out: Tensor = layer(layer(ROWS))
    return out


NOT_IN_A_ROW: dict[str, Callable[[], Tensor]] = {
    "a relu": lambda: stack(wide(), nn.ReLU(), wide()),
    "a functional gelu": lambda: wide()(functional.gelu(wide()(ROWS))),
    "a relu by a mask": lambda: wide()((h := wide()(ROWS)) * (h > 0).float()),
    "a relu by where": lambda: wide()(torch.where((h := wide()(ROWS)) > 0, h, 0.0)),
    "a product with itself": lambda: wide()((h := wide()(ROWS)) * h),
    "layer norm": lambda: stack(wide(), nn.LayerNorm(8), wide()),
    "max pooling": lambda: stack(
        nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 2), inputs=IMAGES
    ),
    "a low-rank adapter": adapted,
    "a thin middle": lambda: stack(wide(8, 2), wide(2, 8)),
    "a linear probe": lambda: stack(wide(8, 3)),
    "depthwise, then pointwise": lambda: stack(
        nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 64, 1), inputs=IMAGES
    ),
    "a row, then a column": lambda: stack(
        nn.Conv2d(3, 8, (1, 3)), nn.Conv2d(8, 8, (3, 1)), inputs=IMAGES
    ),
    "an embedding, then a linear layer": lambda: nn.Linear(8, 9)(
        nn.Embedding(7, 8)(torch.randint(7, (4, 5)))
    ),
    "a tied head": tied,
    "a layer that is read twice": shared,
    "one layer that is called twice": twice,
    "frozen layers": lambda: wide()(wide().requires_grad_(requires_grad=False)(ROWS)),
    "an attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True)(SERIES, SERIES, SERIES)[
        0
    ],
    "an lstm, then a head": lambda: wide(6, 3)(nn.LSTM(8, 6, batch_first=True)(SERIES)[0]),
    "a gru, then a head": lambda: wide(6, 3)(nn.GRU(8, 6, batch_first=True)(SERIES)[0][:, -1]),
}


@pytest.mark.parametrize("name", IN_A_ROW)
def test_layers_in_a_row_are_found(name: str) -> None:
    torch.manual_seed(0)
    assert n_pairs(IN_A_ROW[name]()) == 1


@pytest.mark.parametrize("name", NOT_IN_A_ROW)
def test_what_only_looks_like_it_is_none(name: str) -> None:
    torch.manual_seed(0)
    assert n_pairs(NOT_IN_A_ROW[name]()) == 0


def test_what_a_checkpoint_hides_is_not_read() -> None:
    """Reading a saved tensor there would run the forward again, and the backward pass fail."""
    first, second = wide(), wide()
    inputs = ROWS.clone().requires_grad_()
    calls: list[int] = []

    def block(x: Tensor) -> Tensor:
        calls.append(1)
        out: Tensor = second(functional.dropout(first(x), 0.5))
        return out

    out = checkpoint(block, inputs, use_reentrant=False)
    assert isinstance(out, Tensor)
    loss = out.square().mean()
    graph = graph_of([loss], limit=1000)
    assert graph is not None
    assert not linear_maps(graph).pairs
    assert len(calls) == 1
    loss.backward()  # type: ignore[no-untyped-call]
    assert first.weight.grad is not None


def test_a_larger_graph_than_the_limit_is_not_read() -> None:
    assert graph_of([stack(wide(), wide()).mean()], limit=3) is None
