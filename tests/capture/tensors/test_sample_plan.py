import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.tensors.sample_plan import (
    BLOCK_LENGTH,
    ROW_LENGTH,
    WHOLE_LIMIT,
    RowLayout,
    Segments,
    block_spacing,
    is_dense,
    limit_of,
    plan_tensor,
    sampled,
)

N_BLOCKS = WHOLE_LIMIT // BLOCK_LENGTH


@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (256, 256), (16, 4, 32, 32)])
def test_a_tensor_of_up_to_65536_elements_is_read_whole(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape)
    plan = plan_tensor(tensor)
    assert plan.n_sampled == plan.n == tensor.numel()
    assert torch.equal(sampled(plan, tensor), tensor)


@given(n=st.integers(WHOLE_LIMIT + 1, 20_000_000))
@settings(deadline=None, max_examples=50)
def test_blocks_of_a_larger_tensor_do_not_overlap_and_reach_from_one_end_to_the_other(
    n: int,
) -> None:
    spacing = block_spacing(n, N_BLOCKS)
    last = (N_BLOCKS - 1) * spacing + BLOCK_LENGTH
    assert spacing >= BLOCK_LENGTH
    assert last <= n
    assert last >= 0.95 * n or spacing < 2 * BLOCK_LENGTH


def test_a_large_tensor_gives_a_view_of_evenly_spread_blocks() -> None:
    tensor = torch.arange(300_000)
    plan = plan_tensor(tensor)
    view = sampled(plan, tensor)
    assert plan.n_sampled == view.numel() == WHOLE_LIMIT
    assert view.data_ptr() == tensor.data_ptr()
    assert torch.equal(view[:, 1:] - view[:, :-1], torch.ones(N_BLOCKS, BLOCK_LENGTH - 1).long())
    assert torch.unique(view).numel() == WHOLE_LIMIT
    assert len(torch.unique(view[1:, 0] - view[:-1, 0])) == 1


def test_every_column_of_a_large_matrix_is_visited() -> None:
    # 576 elements between blocks would leave two thirds of 768 columns unread.
    columns = torch.arange(768).expand(768, 768).contiguous()
    assert torch.unique(sampled(plan_tensor(columns), columns)).numel() == 768


def test_the_same_elements_are_read_whatever_the_memory_format_of_the_second_tensor() -> None:
    weight = torch.randn(128, 64, 5, 5).to(memory_format=torch.channels_last)
    gradient = weight.contiguous()
    plan = plan_tensor(weight)
    assert weight.stride() != gradient.stride()
    assert torch.equal(sampled(plan, weight), sampled(plan, gradient))


def test_a_tensor_with_gaps_in_memory_is_read_in_logical_order() -> None:
    tensor = torch.arange(400_000).reshape(400, 1000)[:, ::2]
    plan = plan_tensor(tensor)
    assert torch.equal(sampled(plan, tensor), sampled(plan, tensor.contiguous()))


def test_a_tensor_is_read_up_to_the_limit_of_its_plan() -> None:
    tensor = torch.arange(300_000)
    plan = plan_tensor(tensor, 4_096)
    view = sampled(plan, tensor)
    assert plan.n_sampled == view.numel() == torch.unique(view).numel() == 4_096
    assert view[-1, -1] > 290_000
    assert plan_tensor(tensor[:4_096], 4_096).spacing is None


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        ([85_000], 65_536),
        ([1 << 17] * 4, 65_536),  # a quarter of a million elements in all
        ([1 << 17] * 5, 32_768),
        ([1 << 17] * 16, 16_384),
        ([1 << 24] * 64, 65_536),  # four million elements, less than 1/32
        ([1_000] * 100_000, 1_024),  # no row of the buffer is left half empty for it
    ],
)
def test_many_tensors_give_fewer_elements_each(sizes: list[int], limit: int) -> None:
    assert limit_of(sizes) == limit


@pytest.mark.parametrize(
    ("tensor", "dense"),
    [
        (torch.empty(3, 4), True),
        (torch.empty(3, 4).t(), True),
        (torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last), True),
        (torch.empty(3, 1, 4).transpose(0, 2), True),
        (torch.empty(3, 4)[:, :2], False),
        (torch.empty(3, 1).expand(3, 4), False),
    ],
)
def test_density_is_judged_from_strides(tensor: torch.Tensor, *, dense: bool) -> None:
    assert is_dense(tensor.shape, tensor.stride()) is dense


def test_planning_and_reading_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    tensor = torch.zeros(1000, 1000)
    sampled(plan_tensor(tensor), tensor)
    assert torch.equal(torch.get_rng_state(), state)


@given(sizes=st.lists(st.integers(1, 3 * ROW_LENGTH + 5), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_rows_of_a_buffer_reduce_to_the_tensors_that_were_copied_in(sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(len(sizes))
    tensors = [torch.randn(size, generator=generator) for size in sizes]
    segments = Segments([plan_tensor(t) for t in tensors], device=torch.device("cpu"))
    buffer = segments.buffer(torch.float32)
    for place, tensor in zip(segments.places(buffer), tensors, strict=True):
        place.copy_(tensor)
    layout = segments.layout
    totals = layout.total(buffer.sum(1).numpy())
    largest = layout.largest(buffer.amax(1).numpy())
    padded = [np.append(t.numpy(), 0) if t.numel() % ROW_LENGTH else t.numpy() for t in tensors]
    np.testing.assert_allclose(totals, [t.double().sum() for t in tensors], atol=1e-3)
    np.testing.assert_array_equal(largest, [p.max() for p in padded])
    np.testing.assert_array_equal(
        layout.smallest(buffer.amin(1).numpy()), [p.min() for p in padded]
    )
    assert int(segments.padding.sum()) == int(layout.n_padding.sum())
    assert not buffer[segments.padding].any()


def test_a_value_of_each_tensor_is_repeated_for_its_rows() -> None:
    plans = [plan_tensor(torch.empty(n)) for n in (3, 2 * ROW_LENGTH, 1)]
    spread = Segments(plans, device=torch.device("cpu")).spread(torch.tensor([1.0, 2.0, 3.0]))
    assert spread.flatten().tolist() == [1.0, 2.0, 2.0, 3.0]


def test_layouts_count_rows_and_padding() -> None:
    layout = RowLayout(np.array([ROW_LENGTH, 1]))
    assert (layout.n_rows, layout.n_padding.tolist()) == (2, [0, ROW_LENGTH - 1])
    assert layout.tail_rows.tolist() == [1]
