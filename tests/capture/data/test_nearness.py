"""Codes of samples tell near ones from others, and change nothing else."""

import pytest
import torch
from torch import Tensor

from telemetry.capture.data.nearness import SampleCodes

pytestmark = pytest.mark.torch


def samples(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def bits_apart(one: Tensor, other: Tensor) -> list[int]:
    """Bits in which the codes of two batches differ, row by row."""
    left, right = SampleCodes()(one), SampleCodes()(other)
    assert left is not None
    assert right is not None
    words = [int(word) % 2**64 for word in (left ^ right).flatten()]
    counts = [(word).bit_count() for word in words]
    return [first + second for first, second in zip(counts[::2], counts[1::2], strict=True)]


def test_a_code_is_that_of_any_scale_offset_and_batch() -> None:
    x = samples(20, 3, 8, 8)
    assert bits_apart(x, 5 * x + 7) == [0] * 20
    codes, some = SampleCodes()(x), SampleCodes()((x[4:9], {"size": 3}))
    assert codes is not None
    assert some is not None
    assert torch.equal(codes[4:9], some)
    assert codes.shape == (20, 2)
    assert codes.dtype is torch.int64


def test_bits_differ_by_the_angle() -> None:
    x, other = samples(100, 64), samples(200, 64)[100:]
    noise = 0.1 * other
    assert 2 < sum(bits_apart(x, x + noise)) / 100 < 7  # 128 * atan(.1) / pi = 4.1
    assert 60 < sum(bits_apart(x, other)) / 100 < 68


@pytest.mark.parametrize(
    "given",
    [
        torch.arange(40).reshape(4, 10),  # tokens
        (torch.zeros(4, 10), torch.zeros(4, 10)),
        torch.zeros(4, 7),
        torch.zeros(40),
        torch.zeros(0, 10),
        torch.zeros(4, 10).to_sparse(),
        "text",
        None,
    ],
)
def test_what_is_no_batch_of_numbers_has_no_codes(given: object) -> None:
    assert SampleCodes()(given) is None
