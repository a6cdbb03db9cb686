"""Numbers come to the host as they are, in their order, in one copy a device."""

import math

import pytest
import torch
from torch import Tensor

from telemetry.capture.steps.host_numbers import host_numbers, on_host


def test_cells_have_as_many_numbers_as_they_had() -> None:
    found = on_host(
        {
            "one": [torch.tensor(1.5), 2.5],
            "none": [None, None],
            "several": [(torch.tensor(1.0), 2.0), ()],
            "some": [None, torch.tensor(3.0, dtype=torch.bfloat16)],
            "whole": [torch.tensor(2**62 + 1), None],
        },
        integers={"whole"},
    )
    assert found == {
        "one": [(1.5,), (2.5,)],
        "none": [(), ()],
        "several": [(1.0, 2.0), ()],
        "some": [(), (3.0,)],
        "whole": [(2**62 + 1,), ()],
    }


def test_every_kind_of_number_is_what_it_was() -> None:
    values = [
        torch.tensor(-0.0),
        torch.tensor(math.inf),
        torch.tensor(1 + 2j),
        torch.tensor([1.0, 3.0]),
        torch.tensor(7),
        5,
        torch.tensor(2.0, requires_grad=True),
    ]
    floats, whole = host_numbers([*values, torch.tensor(math.nan)], [torch.tensor(-1), 4])
    assert floats[:-1] == [-0.0, math.inf, 1.0, 2.0, 7.0, 5.0, 2.0]
    assert math.copysign(1.0, floats[0]) == -1.0
    assert math.isnan(floats[-1])
    assert whole == [-1, 4]


def test_all_columns_together_are_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    original = Tensor.cpu

    def cpu(tensor: Tensor) -> Tensor:
        copied.append(tensor.numel())
        return original(tensor)

    monkeypatch.setattr(Tensor, "cpu", cpu)
    cells = [torch.tensor(1.0), (torch.tensor(2.0), torch.tensor(3.0)), 4.0]
    on_host({"a": cells, "b": cells, "c": [torch.tensor(5)]}, integers={"c"})
    assert copied == [7]
