import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from telemetry.capture.budget.hash_purse import HashWindows
from telemetry.capture.data.batches import BatchHasher, bit_sample
from telemetry.capture.tensors.inputs import batch_size, tensors_in
from telemetry.capture.tensors.position_hash import splitmix64


def digest(batch: Tensor) -> int:
    return int(BatchHasher()(batch))


def reference(batch: Tensor) -> int:
    """The definition, element by element."""
    bits = batch.contiguous().view(-1).view(torch.int32).tolist()
    total = sum(value * int(splitmix64(index)) for index, value in enumerate(bits))
    return total % 2**64


def test_splitmix64_gives_the_published_sequence() -> None:
    # First outputs for seed 0 of the reference implementation.
    words = [int(word) % 2**64 for word in splitmix64([0, 1, 2])]
    assert words == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_the_hash_is_the_positional_sum_of_bits() -> None:
    batch = torch.tensor([[1.5, -2.0], [0.25, 3.0]])
    salt = digest(torch.zeros(2, 2))
    assert (digest(batch) - salt) % 2**64 == reference(batch)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30, unique=False), st.randoms())
@settings(deadline=None, max_examples=50)
def test_order_matters(values: list[int], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same = digest(torch.tensor(values)) == digest(torch.tensor(shuffled))
    assert same == (values == shuffled)


def test_shape_and_dtype_are_mixed_in() -> None:
    flat = torch.zeros(6)
    assert len({digest(flat), digest(flat.view(2, 3)), digest(flat.double())}) == 3


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(0, 3),
        torch.tensor(2.0),
        torch.ones(4, dtype=torch.bool),
        torch.ones(4, dtype=torch.bfloat16),
        torch.ones(4, dtype=torch.complex64),
        torch.ones(3, 4).to_sparse(),
        torch.ones(2, 3, 8, 8).to(memory_format=torch.channels_last),
        torch.ones(4, 1).expand(4, 5),
        torch.arange(100000),
    ],
)
def test_any_batch_has_a_hash_and_is_not_changed(batch: Tensor) -> None:
    before = batch.clone()
    assert digest(batch) == digest(before.clone())
    assert torch.equal(batch.to_dense(), before.to_dense())


def test_large_batches_are_read_at_no_more_than_4096_places() -> None:
    assert bit_sample(torch.ones(1_000_000)).numel() <= 4096


def test_tensors_are_found_in_containers_in_a_fixed_order() -> None:
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    assert list(tensors_in((a, {"x": [b, "text"], "y": c}, 7))) == [a, b, c]


@pytest.mark.parametrize(
    ("args", "kwargs", "size"),
    [
        ((torch.zeros(5, 2),), {}, 5),
        ((torch.tensor(1.0), torch.zeros(5, 2)), {}, 5),
        (("text", {"x": torch.zeros(3)}), {}, 3),
        ((), {"x": torch.zeros(4, 1)}, 4),
        ((), {}, 0),
    ],
)
def test_the_batch_size_is_the_first_dimension_of_the_first_tensor(
    args: tuple[object, ...], kwargs: dict[str, object], size: int
) -> None:
    assert batch_size(args, kwargs) == size


def test_hash_windows_close_when_their_share_of_the_budget_is_spent() -> None:
    windows = HashWindows()
    assert windows.wanted(0, lambda: 0.2, lambda: 0.5)
    windows.cost_s = 0.3
    assert windows.wanted(60, lambda: 0.2, lambda: 0.5), "a window may spend what is promised"
    assert not windows.wanted(64, lambda: 0.2, lambda: 0.5)
    assert not windows.wanted(127, lambda: 0.7, lambda: 0.7), "windows begin at multiples of 64"
    assert not windows.wanted(128, lambda: 0.59, lambda: 0.59), "it would cost 0.3 s"
    assert windows.wanted(192, lambda: 0.61, lambda: 0.61)


def test_a_window_of_dear_batches_is_cut_short_before_it_breaks_the_promise() -> None:
    windows = HashWindows()
    step = 0
    while windows.wanted(step, lambda: 0.5, lambda: 0.5):
        windows.cost_s += 0.06
        step += 1
    assert (step, windows.cost_s) == (8, pytest.approx(0.48))
    assert not windows.wanted(64, lambda: 4.3, lambda: 4.3)
    assert windows.wanted(128, lambda: 4.4, lambda: 4.4), "0.48 s and 64 times 0.06 s"


def test_one_dear_batch_in_a_window_does_not_close_the_next() -> None:
    windows = HashWindows()
    assert windows.wanted(0, lambda: 0.5, lambda: 0.5)
    windows.cost_s += 0.2
    assert windows.wanted(64, lambda: 0.5, lambda: 0.5)
