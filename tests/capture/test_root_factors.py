"""Whether a loop that accumulates divides its losses, read from the graph."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback
from tests.loops import records


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def sums(
    store: Path,
    root_of: Callable[[Tensor], Tensor],
    *,
    n_micro: int = 4,
    cleared: bool = False,
    scaled: bool = False,
) -> list[object]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=1024.0)
    with TelemetryCallback(
        model, optimizer, store=store, every=1, overhead_budget=None, strict=True
    ) as telemetry:
        for _ in range(3):
            for _ in range(n_micro):
                if cleared:
                    optimizer.zero_grad()
                root = root_of(model(torch.ones(2, 3)).square().mean())
                scaler.scale(root).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            telemetry.step()
        assert telemetry.path is not None
    return [row["root_factor_sum"] for row in records(telemetry.path, "steps")]


@pytest.mark.parametrize(
    ("root_of", "expected"),
    [
        (lambda loss: loss, 4.0),
        (lambda loss: loss / 4, 1.0),
        (lambda loss: loss * 0.25, 1.0),
        (lambda loss: loss.clone().div_(torch.tensor([4.0])[0]), 1.0),
        (lambda loss: loss / 4 / 4, 0.25),
        (lambda loss: -loss / 4, -1.0),
        (lambda loss: loss / 4 + 0.1 * loss / 4, 1.0),
        (lambda loss: loss + 0.1 * loss, 4.0),
        (lambda loss: loss * loss, 4.0),
        (lambda loss: (loss / 4).double(), 1.0),
    ],
)
def test_the_constants_of_the_roots_are_summed(
    tmp_path: Path, root_of: Callable[[Tensor], Tensor], expected: float
) -> None:
    # That the first step accumulates is not known before it has.
    assert sums(tmp_path, root_of) == [None, expected, expected]


def test_the_loss_scale_is_no_factor(tmp_path: Path) -> None:
    assert sums(tmp_path, lambda loss: loss / 4, scaled=True) == [None, 1.0, 1.0]


def test_one_pass_accumulates_nothing(tmp_path: Path) -> None:
    assert sums(tmp_path, lambda loss: loss, n_micro=1) == [None, None, None]


def test_passes_with_cleared_gradients_between_them_do_not_accumulate(tmp_path: Path) -> None:
    assert sums(tmp_path, lambda loss: loss, n_micro=2, cleared=True) == [None, None, None]
