import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain.models.subject import load
from telemetry.explain.pictures.colours import signed_table
from telemetry.explain.units.layer_weights import LayerWeights, weights
from telemetry.explain.units.weight_measures import effective_rank, octaves, smoothness
from telemetry.explain.units.weights_answers import filter_tiles

pytestmark = pytest.mark.torch


def five_directions(rows: int = 32, columns: int = 27) -> Tensor:
    """A matrix of five equal singular values."""
    generator = torch.Generator().manual_seed(5)
    left = torch.linalg.qr(torch.randn(rows, 5, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, 5, generator=generator)).Q
    return left @ right.T


def described(weight: Tensor) -> LayerWeights:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    (found,) = weights(load(nn.Sequential(layer)), "0")
    return found


def test_five_equal_singular_values_are_five_directions() -> None:
    found = described(five_directions())
    assert found.rank == pytest.approx(5, abs=1e-3)
    assert (found.dead, found.twins) == ((), ())
    assert found.random_rank > 20
    assert found.ok


def test_planted_dead_rows_and_a_duplicate_are_named_exactly() -> None:
    matrix = five_directions()
    matrix[[3, 11, 30]] = 0.0
    matrix[20] = 2.5 * matrix[7]
    found = described(matrix)
    assert found.dead == (3, 11, 30)
    assert found.twins == ((7, 20),)
    assert "3 dead (3, 11, 30); 1 near-duplicate pair (7 = 20)" in found.answer


def test_rows_that_point_the_other_way_are_no_duplicates() -> None:
    matrix = five_directions()
    matrix[20] = -matrix[7]
    assert described(matrix).twins == ()


def test_ranks_of_edge_cases() -> None:
    assert effective_rank(torch.zeros(4, 3)) == 0
    assert effective_rank(torch.eye(4)) == pytest.approx(4)
    assert effective_rank(torch.ones(4, 3)) == pytest.approx(1, abs=1e-4)


def test_kernels_without_structure_have_no_smoothness_and_flat_ones_all() -> None:
    noise = torch.randn(64, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert abs(smoothness(noise)) < 0.05
    assert smoothness(torch.ones(2, 1, 3, 3)) == pytest.approx(1)
    chequered = (torch.arange(9).reshape(1, 1, 3, 3) % 2) * 2.0 - 1
    assert smoothness(chequered) == pytest.approx(-1)


def test_kernels_over_a_sequence_have_a_smoothness_too() -> None:
    flat = nn.Conv1d(2, 3, 5)
    with torch.no_grad():
        flat.weight.copy_(torch.ones(3, 2, 5))
    (found,) = weights(load(nn.Sequential(flat)), "0")
    assert found.smoothness == pytest.approx(1)
    assert abs(found.random_smoothness or 0.0) < 0.5
    assert (found.random_n_dead, found.random_n_twins) == (0, 0)
    (matrix,) = weights(load(nn.Sequential(nn.Embedding(5, 3))), "0")
    assert matrix.smoothness is None


def test_rows_of_a_sequence_kernel_or_an_embedding_are_drawn_the_largest_first() -> None:
    table = nn.Embedding(3, 2)
    with torch.no_grad():
        table.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -4.0], [2.0, 0.0]]))
    (found,) = weights(load(nn.Sequential(table)), "0")
    page = np.asarray(Image.open(io.BytesIO(found.figure("png"))).convert("RGB"))
    side = 512 // 3
    assert tuple(page[12 + side // 2, 12 + side + side // 2]) == tuple(signed_table()[0])
    first = page[12 + side + side // 2, 12 + side // 2]  # half of the scale, blue
    assert first[2] > first[0]


def test_positions_behind_a_batch_of_one_are_rows() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Parameter(torch.randn(1, 5, 8, generator=torch.Generator()))
            self.conv = nn.Conv2d(3, 1, 3)

    places, filters = weights(load(Positions()))
    assert tuple(places.weight.shape) == (5, 8)
    assert len(places.norms) == 5
    assert tuple(filters.weight.shape) == (1, 3, 3, 3)


def test_magnitudes_are_counted_by_octaves_without_zeros() -> None:
    assert octaves(torch.tensor([0.0, 1.0, -1.5, 2.0, 0.25, -3.999])) == {-2: 1, 0: 2, 1: 2}


def test_tiles_give_the_filters_back() -> None:
    """To 1/255 of the scale, and zero is the neutral colour exactly."""
    filters = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1)).double()
    filters[0, 0, 0, 0] = 0.0
    scale = float(filters.abs().max())
    tiles = filter_tiles(filters.numpy(), scale)
    assert tuple(tiles[0][0, 0]) == (0xF7, 0xF7, 0xF7)
    table = signed_table().astype(int)
    back = np.abs(np.stack(tiles)[..., None, :].astype(int) - table).sum(-1).argmin(-1)
    shares = (back - 128) / 128
    side_by_side = np.concatenate(list(filters.numpy().swapaxes(0, 1)), axis=2)
    assert np.abs(shares - side_by_side / scale).max() <= 1 / 255


def test_a_first_convolution_is_drawn_as_filters_on_one_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    first, last = weights(load(model))
    assert (first.layer, first.kind, last.layer) == ("0", "Conv2d", "3")
    assert first.is_first_filters
    assert first.random_smoothness is not None
    page = Image.open(io.BytesIO(first.figure("png")))
    assert page.text["telemetry"] == first.id  # type: ignore[attr-defined]
    rgb = np.asarray(page.convert("RGB"))
    strongest = tuple(signed_table()[256 if first.weight.max() == first.scale else 0])
    assert (rgb == strongest).all(-1).sum() >= 21 * 21  # one weight of one kernel, 64 // 3 a side
    assert Image.open(io.BytesIO(last.figure("png"))).width > 512


def test_transposed_convolutions_have_their_outputs_as_rows() -> None:
    (found,) = weights(load(nn.Sequential(nn.ConvTranspose2d(6, 2, 3))))
    assert tuple(found.weight.shape) == (2, 6, 3, 3)


def test_drift_counts_from_the_weights_of_step_0_only(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    for step in (0, 5):
        torch.save({"step": step, "model": model.state_dict()}, tmp_path / f"{step}.pt")
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    (since,) = weights(load(model), initial=str(tmp_path / "0.pt"))
    assert since.drift == pytest.approx(0.5)
    assert "changed it by 50 %" in since.answer
    (unknown,) = weights(load(model), initial=str(tmp_path / "5.pt"))
    assert unknown.drift is None


def test_weights_that_are_not_finite_fail_a_check() -> None:
    matrix = five_directions()
    matrix[2, 2] = torch.nan
    found = described(matrix)
    assert not found.ok
    assert found.checks[0].value == 1


def test_the_model_and_random_states_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    weights(load(model))
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_layer_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"no layer 'conv9'; there are 0, 2"):
        weights(load(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))), "conv9")
    with pytest.raises(UsageError, match="no layer with a matrix"):
        weights(load(nn.Sequential(nn.BatchNorm1d(2))))


def test_the_row_of_padding_is_not_dead() -> None:
    table = nn.Embedding(5, 3, padding_idx=2)
    with torch.no_grad():
        table.weight[4] = 0.0
    (found,) = weights(load(nn.Sequential(table)), "0")
    assert found.dead == (4,)
    assert found.random_n_dead == 0
