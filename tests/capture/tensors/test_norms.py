"""Norms over all elements, whatever the size and the place of a tensor in memory."""

import pytest
import torch
from torch import Tensor

from telemetry.capture.tensors.norms import PIECE_LENGTH, pieces, tensor_norms

N_LARGE = 4_000_000
LARGE = torch.randn(N_LARGE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("tensor", "relative"),
    [
        (LARGE, 1e-5),
        (LARGE.view(1, 1, N_LARGE), 1e-5),
        (LARGE.view(2_000, 2_000).t(), 1e-5),
        (LARGE.view(1_000, 40, 10, 10).to(memory_format=torch.channels_last), 1e-5),
        (LARGE.view(2_000, 2_000)[:, :1_999], 2e-4),
        (LARGE.bfloat16(), 2e-4),
        (LARGE[0], 1e-5),
    ],
)
def test_large_tensors_lose_no_digits(tensor: Tensor, relative: float) -> None:
    others = [torch.full((3,), 2.0), torch.zeros(())]
    norms = tensor_norms([others[0], tensor, others[1]])
    assert norms.dtype == torch.float64
    expected = [12.0**0.5, tensor.double().norm().item(), 0.0]
    assert norms.tolist() == pytest.approx(expected, rel=relative)


def test_non_finite_elements_of_large_tensors_show() -> None:
    with_nan, with_inf = LARGE.clone(), LARGE.clone()
    with_nan[N_LARGE - 1] = torch.nan
    with_inf[0] = -torch.inf
    norms = tensor_norms([with_nan, with_inf])
    assert norms[0].isnan()
    assert norms[1].isinf()


def test_pieces_are_views_of_bounded_size() -> None:
    matrix = LARGE.view(2_000, 2_000)
    for tensor in (LARGE, matrix, matrix.t()):
        parts = pieces(tensor)
        assert sum(part.numel() for part in parts) == N_LARGE
        assert max(part.numel() for part in parts) <= PIECE_LENGTH
        addresses = {part.untyped_storage().data_ptr() for part in parts}
        assert addresses == {LARGE.untyped_storage().data_ptr()}
