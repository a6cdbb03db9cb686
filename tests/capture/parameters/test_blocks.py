"""How parameters are put into blocks: in one walk over them, whatever their number."""

import pytest
import torch
from torch import Tensor

from telemetry.capture.catalogue.catalogue import Catalogue, ParameterEntry
from telemetry.capture.parameters import blocks as parameter_blocks
from telemetry.capture.parameters.blocks import ParameterBlock, plan_blocks
from telemetry.capture.tensors.sample_plan import TensorPlan


def planned(n_tensors: int) -> list[ParameterBlock]:
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(4)) for _ in range(n_tensors)])
    catalogue = Catalogue(model, [])
    parameters: list[tuple[Tensor, ParameterEntry, int]] = []
    for parameter in model.parameters():
        entry = catalogue.entry(parameter)
        assert entry is not None
        parameters.append((parameter, entry, 0))
    blocks, unreadable = plan_blocks(parameters)
    assert not unreadable
    return blocks


def test_ten_times_the_tensors_are_looked_at_ten_times_as_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_looks = 0
    n_sampled = TensorPlan.n_sampled.fget  # type: ignore[attr-defined]

    def counted(plan: TensorPlan) -> int:
        nonlocal n_looks
        n_looks += 1
        return int(n_sampled(plan))

    monkeypatch.setattr(TensorPlan, "n_sampled", property(counted))
    looks: list[int] = []
    for n_tensors in (30, 300):
        n_looks = 0
        planned(n_tensors)
        looks.append(n_looks)
    assert looks[1] <= 10 * looks[0]


def test_a_block_that_is_full_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_blocks, "HOST_BLOCK_ELEMENTS", 12)
    assert [len(block.members) for block in planned(8)] == [3, 3, 2]
