"""Loops without a torch optimizer: `step()` is the boundary."""

from pathlib import Path

import pytest
import torch
from loops import records
from provenance import Run, column, opened, scalar, steps, tensors, x
from torch import nn

LR = 0.25
# What the optimizer's rule used cannot be known without one.
OF_THE_RULE = {"decay_ratio"}


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].bias.requires_grad_(requires_grad=False)
    return model


def update_by_hand(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-LR)


def trained(store: Path, *, by_hand: bool, every: int, zeroed_before_call: bool) -> Run:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    given = None if by_hand else optimizer
    with opened(model, given, store, every=every, activations=True) as telemetry:
        generator = torch.Generator().manual_seed(1)
        for _ in range(4):
            loss = model(torch.randn(8, 3, generator=generator)).square().mean()
            loss.backward()
            if by_hand:
                update_by_hand(model)
            else:
                optimizer.step()
            if zeroed_before_call:
                model.zero_grad()
            telemetry.step(loss=loss)
            model.zero_grad()
    return telemetry


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("zeroed_before_call", [True, False])
def test_rows_are_those_of_sgd_doing_the_same(
    tmp_path: Path,
    every: int,
    zeroed_before_call: bool,  # noqa: FBT001
) -> None:
    runs = [
        trained(tmp_path, by_hand=by_hand, every=every, zeroed_before_call=zeroed_before_call)
        for by_hand in (True, False)
    ]
    hand, sgd = (tensors(run) for run in runs)
    assert {key[0] for key in hand} == set(range(0, 4, every))
    assert hand.keys() == sgd.keys()
    for key, row in hand.items():
        assert {k: v for k, v in row.items() if k not in OF_THE_RULE} == {
            k: v for k, v in sgd[key].items() if k not in OF_THE_RULE
        }
    for name in ("step", "loss", "root_sum", "grad_norm_total", "param_checksum", "samples"):
        assert column(runs[0], name) == column(runs[1], name)
    for name in ("backward_calls", "accumulation", "batch_hash", "flags"):
        assert column(runs[0], name) == column(runs[1], name)
    assert column(runs[0], "lr") == [None] * 4


def test_the_last_backward_pass_before_the_call_is_read(tmp_path: Path) -> None:
    model = scalar(1.0)
    with opened(model, None, tmp_path) as telemetry:
        for _ in range(2):
            for value in (1.0, 2.0):
                model(x(value)).sum().backward()
            with torch.no_grad():
                model.weight -= LR * model.weight.grad
            model.weight.grad = None
            telemetry.step()
    assert column(telemetry, "backward_calls") == [2, 2]
    assert column(telemetry, "grad_norm_total") == [3.0, 3.0]
    rows = tensors(telemetry)
    assert [rows[step, "weight", "weight"]["sum"] for step in range(2)] == [1.0, 0.25]
    assert [rows[step, "weight", "update"]["sum"] for step in range(2)] == [-0.75, -0.75]


def test_every_call_ends_a_step_and_none_is_missed(tmp_path: Path) -> None:
    model = scalar(1.0)
    with opened(model, None, tmp_path) as telemetry:
        for _ in range(70):
            telemetry.step(loss=1.0)
    assert column(telemetry, "step") == list(range(70))
    assert telemetry.path is not None
    kinds = {row["kind"] for row in records(telemetry.path, "events")}
    assert "optimizer_never_stepped" not in kinds
    assert tensors(telemetry) == {}


def test_clipping_before_an_update_by_hand_is_told(tmp_path: Path) -> None:
    model = scalar(1.0)
    with opened(model, None, tmp_path) as telemetry:
        for _ in range(2):
            model.zero_grad()
            model(x(4.0)).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            with torch.no_grad():
                model.weight -= LR * model.weight.grad
            telemetry.step()
    assert column(telemetry, "clip_coefficient") == pytest.approx([0.5, 0.5], rel=1e-4)
    assert column(telemetry, "grad_norm_total") == [4.0, 4.0]
    rows = tensors(telemetry)
    assert rows[1, "weight", "gradient"]["sumsq"] == 16.0  # read before it was clipped
    assert rows[1, "weight", "gradient"]["provenance"] == "unscaled"
    assert rows[1, "weight", "update"]["sum"] == pytest.approx(-0.5, rel=1e-4)


def test_a_layer_that_is_added_in_mid_run_is_read_from_then_on(tmp_path: Path) -> None:
    model = nn.Sequential(scalar(1.0))
    with opened(model, None, tmp_path) as telemetry:
        for number in range(2):
            if number:
                model.append(scalar(3.0))
            model.zero_grad()
            model(x(1.0)).sum().backward()
            telemetry.step()
    rows = tensors(telemetry)
    assert sorted(key[:2] for key in rows if key[2] == "gradient") == [
        (0, "0.weight"),
        (1, "0.weight"),
        (1, "1.weight"),
    ]
    assert rows[1, "0.weight", "gradient"]["sum"] == 3.0
    assert [row["grad_norm_total"] for row in steps(telemetry)] == pytest.approx([1.0, 10**0.5])
