"""Signals of particular modules: embeddings, normalisation, representations, leaking features."""

import math
from collections.abc import Callable

import pytest
import torch
from observed import Rows, observed_step, rows_of, site
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.activations.observer import ModuleObserver


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- embeddings -----------------------------------------------------------------------------------


def test_rows_that_an_embedding_read_are_counted_once() -> None:
    model = nn.Sequential(nn.Embedding(50, 4))
    first, second = torch.tensor([[3, 3, 7], [7, 3, 49]]), torch.tensor([[7, 0]])
    rows = observed_step(model, lambda: model(first).sum() + model(second).sum())
    row = site(rows, "0", "input")
    assert (row["n_touched"], row["n_units"], row["n"]) == (4, 50, 8)
    assert (row["dtype"], row["n_dead"], row["sum"]) == ("int64", None, None)


def test_bags_of_rows_are_counted_too() -> None:
    model = nn.Sequential(nn.EmbeddingBag(50, 4))
    indices = torch.tensor([[1, 2, 2]], dtype=torch.int32)
    row = site(observed_step(model, lambda: model(indices)), "0", "input")
    assert (row["n_touched"], row["n_units"], row["n"]) == (2, 50, 3)


def test_rows_of_an_evaluation_are_its_own() -> None:
    model = nn.Sequential(nn.Embedding(50, 4))
    observer = ModuleObserver(model)
    observer.begin(0)
    with torch.no_grad():
        model(torch.arange(10))
    observer.settle("eval")
    model(torch.arange(3)).sum().backward()
    rows = rows_of(model, observer.end())
    assert site(rows, "0", "input", "eval")["n_touched"] == 10
    assert site(rows, "0", "input", "train")["n_touched"] == 3


# --- normalisation --------------------------------------------------------------------------------


def test_batches_counted_since_the_last_row() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    observer = ModuleObserver(model)
    updates = []
    for step in range(3):
        inputs = normal(8, 3)
        rows = observed_step(
            model, lambda x=inputs: model(x).square() + model(x), observer=observer, step=step
        )
        updates.append(site(rows, "0")["bn_updates"])
        model(inputs)  # not observed
    assert updates == [None, 3, 3]


def test_a_layer_in_evaluation_mode_counts_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    observer = ModuleObserver(model)
    for step in range(2):
        rows = observed_step(model, lambda: model(normal(8, 3)), observer=observer, step=step)
    assert (site(rows, "0")["bn_updates"], site(rows, "0")["training"]) == (0, False)


class Block(nn.Module):
    """Adds twice its input to it."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.in_place = in_place
        with torch.no_grad():
            self.inner.weight.copy_(2 * torch.eye(4))

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.inner(values)
        if self.in_place:
            hidden += values
            return hidden
        return values + hidden


@pytest.mark.parametrize("in_place", [False, True])
def test_the_residual_stream_can_be_followed_from_block_to_block(*, in_place: bool) -> None:
    model = nn.Sequential(*(Block(in_place=in_place) for _ in range(3)))
    inputs = normal(5, 4)
    rows = observed_step(model, lambda: model(inputs))
    start = inputs.square().sum().item()
    growth = [site(rows, str(k))["sumsq"] / start for k in range(3)]
    assert growth == pytest.approx([9.0, 81.0, 729.0], rel=1e-4)


def test_what_a_container_hands_on_is_recorded_once() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
    rows = observed_step(model, lambda: model(normal(5, 4)))
    assert {path for path, name, _ in rows if name == "output"} == {"0.0", "0.1", "1"}


def test_transformer_layers_are_blocks() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    rows = observed_step(model, lambda: model(normal(2, 5, 8)))
    blocks = {path for path, name, _ in rows if name == "output"}
    assert {"layers.0", "layers.1"} <= blocks


# --- representations ------------------------------------------------------------------------------


def spread_of(rows: Tensor) -> tuple[float, float]:
    """Mean pairwise cosine and unit spread, pair by pair."""
    directions = [row / row.norm() for row in rows.double()]
    pairs = [(a @ b).item() for i, a in enumerate(directions) for b in directions[:i]]
    deviations = torch.stack(directions).std(0, correction=0)
    return sum(pairs) / len(pairs), math.sqrt(rows.shape[1]) * deviations.mean().item()


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_how_alike_the_outputs_of_a_batch_are(shift: float) -> None:
    model = nn.Sequential(nn.Linear(6, 7))
    inputs = normal(40, 6) + shift
    row = site(observed_step(model, lambda: model(inputs)), "0")
    with torch.no_grad():
        cosine, spread = spread_of(model(inputs))
    assert row["pair_cosine"] == pytest.approx(cosine, rel=1e-4, abs=1e-5)
    assert row["unit_spread"] == pytest.approx(spread, rel=1e-3)


def test_equal_outputs_have_no_spread() -> None:
    model = nn.Sequential(nn.Linear(6, 7))
    row = site(observed_step(model, lambda: model(torch.ones(40, 6))), "0")
    assert (row["pair_cosine"], row["unit_spread"]) == pytest.approx((1.0, 0.0), abs=1e-3)


def test_of_many_rows_some_are_compared() -> None:
    model = nn.Sequential(nn.Linear(6, 7))
    inputs = normal(600, 6)
    row = site(observed_step(model, lambda: model(inputs)), "0")
    with torch.no_grad():
        cosine, spread = spread_of(model(inputs)[::3])
    assert row["pair_cosine"] == pytest.approx(cosine, rel=1e-4, abs=1e-5)
    assert row["unit_spread"] == pytest.approx(spread, rel=1e-4)


@pytest.mark.parametrize("shape", [(31, 6), (2, 40, 6)])
def test_few_rows_and_other_shapes_are_not_compared(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(6, 7))
    row = site(observed_step(model, lambda: model(normal(*shape))), "0")
    assert (row["pair_cosine"], row["unit_spread"]) == (None, None)


# --- features that tell the target ----------------------------------------------------------------


def with_loss(inputs: Tensor, loss: Callable[[Tensor], Tensor], n_outputs: int = 3) -> Rows:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs.shape[1], n_outputs))
    return observed_step(model, lambda: loss(model(inputs)))


CLASSES = torch.arange(40) % 3


@pytest.mark.parametrize("leak", [CLASSES.float(), (CLASSES == 1).float() * -5 + 2])
def test_a_feature_that_is_the_class_or_tells_one_leaks(leak: Tensor) -> None:
    inputs = torch.cat([normal(40, 4), leak.unsqueeze(1)], dim=1)
    rows = with_loss(inputs, lambda logits: functional.cross_entropy(logits, CLASSES))
    assert site(rows, "", "input")["target_corr"] == pytest.approx(1.0, abs=1e-5)


def test_a_rare_feature_that_meets_a_rare_class_by_chance_does_not_leak() -> None:
    classes = torch.zeros(40, dtype=torch.long)
    classes[:7] = 1
    inputs = torch.cat([normal(40, 4), (classes == 1).float().unsqueeze(1)], dim=1)
    rows = with_loss(inputs, lambda logits: functional.cross_entropy(logits, classes))
    assert site(rows, "", "input")["target_corr"] == 0.0


def test_other_features_correlate_as_numpy_says() -> None:
    inputs, target = normal(40, 4), normal(40, 1, seed=1)
    inputs[:, 2] += 0.5 * target[:, 0]
    rows = with_loss(inputs, lambda output: functional.mse_loss(output, target), n_outputs=1)
    table = torch.cat([inputs, target], dim=1)
    expected = torch.corrcoef(table.T)[:4, 4].abs().max().item()
    assert site(rows, "", "input")["target_corr"] == pytest.approx(expected, rel=1e-4)


def test_a_constant_feature_correlates_with_nothing() -> None:
    inputs = torch.ones(40, 2)
    rows = with_loss(inputs, lambda logits: functional.cross_entropy(logits, CLASSES))
    assert site(rows, "", "input")["target_corr"] == 0.0


@pytest.mark.parametrize(
    ("n_rows", "loss"),
    [
        (31, lambda logits: functional.cross_entropy(logits, CLASSES[:31])),
        (40, lambda logits: functional.mse_loss(logits, torch.zeros(40, 3))),
        (40, lambda logits: logits.square().mean()),
    ],
    ids=["few rows", "a target of several columns", "no known loss"],
)
def test_without_a_target_per_row_nothing_is_said(
    n_rows: int, loss: Callable[[Tensor], Tensor]
) -> None:
    assert site(with_loss(normal(n_rows, 4), loss), "", "input")["target_corr"] is None
