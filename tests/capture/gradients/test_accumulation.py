"""Whether a loop that accumulates divides its losses; the gradient of its first micro-batch."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def soft_labels(loss: Tensor) -> Tensor:
    """A cross entropy whose labels are shares."""
    logits = torch.stack([loss, -loss])[None]
    return functional.cross_entropy(logits, torch.tensor([[0.3, 0.7]]))


def factor_sums(
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
        (lambda loss: soft_labels(loss) / 4, 1.0),  # divides by a number inside
        (lambda loss: (loss / 4).double(), 1.0),
    ],
)
def test_the_constants_of_the_roots_are_summed(
    tmp_path: Path, root_of: Callable[[Tensor], Tensor], expected: float
) -> None:
    assert factor_sums(tmp_path, root_of) == [expected] * 3


def test_the_loss_scale_is_no_factor(tmp_path: Path) -> None:
    assert factor_sums(tmp_path, lambda loss: loss / 4, scaled=True) == [1.0] * 3


def test_one_pass_accumulates_nothing(tmp_path: Path) -> None:
    assert factor_sums(tmp_path, lambda loss: loss, n_micro=1) == [None, None, None]


def test_passes_with_cleared_gradients_between_them_do_not_accumulate(tmp_path: Path) -> None:
    assert factor_sums(tmp_path, lambda loss: loss, n_micro=2, cleared=True) == [None, None, None]


class LoopWithClosures:
    """Accumulates as Lightning does: each micro-batch is a closure, the optimizer gets the last."""

    def __init__(self, *, n_micro: int, divides: bool = True) -> None:
        torch.manual_seed(0)
        self.n_micro, self._divides = n_micro, divides
        self.model = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.losses: list[list[float]] = []

    def step(self, n_batches: int) -> None:
        """One step of so many micro-batches; an epoch may end with fewer."""
        self.losses.append([])
        for number in range(n_batches):
            closure = functools.partial(self._closure, is_first=number == 0)
            if number < n_batches - 1:
                closure()
            else:
                self.optimizer.step(closure)

    def _closure(self, *, is_first: bool) -> Tensor:
        loss = self.model(torch.randn(2, 3)).square().mean() + 1.0
        self.losses[-1].append(float(loss.detach()))
        root = loss / self.n_micro if self._divides else loss
        if is_first:
            self.optimizer.zero_grad()
        root.backward()
        return root.detach().clone()


def recorded_losses(store: Path, loop: LoopWithClosures, n_batches: list[int]) -> list[float]:
    with TelemetryCallback(
        loop.model, loop.optimizer, store=store, every=3, overhead_budget=None, strict=True
    ) as telemetry:
        for n in n_batches:
            loop.step(n)
        assert telemetry.path is not None
    return [float(str(row["loss"])) for row in records(telemetry.path, "steps")]


def test_a_closure_of_the_last_micro_batch_is_not_the_loss_of_the_step(tmp_path: Path) -> None:
    loop = LoopWithClosures(n_micro=4)
    found = recorded_losses(tmp_path, loop, [4, 4, 4, 3, 4, 4, 3])
    assert found == pytest.approx([sum(losses) / len(losses) for losses in loop.losses], rel=1e-5)


def test_a_closure_that_divides_nothing_keeps_what_it_returns(tmp_path: Path) -> None:
    loop = LoopWithClosures(n_micro=4, divides=False)
    found = recorded_losses(tmp_path, loop, [4, 4, 4, 4])
    assert found == pytest.approx([losses[-1] for losses in loop.losses], rel=1e-5)


def test_the_divided_losses_of_a_plain_loop_are_a_mean_also_where_an_epoch_ends(
    tmp_path: Path,
) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    means = []
    with TelemetryCallback(
        model, optimizer, store=tmp_path, every=1, overhead_budget=None, strict=True
    ) as telemetry:
        for n_batches in (4, 4, 2, 4):
            optimizer.zero_grad()
            losses = []
            for _ in range(n_batches):
                loss = model(torch.randn(2, 3)).square().mean() + 1.0
                (loss / 4).backward()
                losses.append(float(loss.detach()))
            optimizer.step()
            means.append(sum(losses) / n_batches)
        assert telemetry.path is not None
    rows = records(telemetry.path, "steps")
    assert [row["loss"] for row in rows] == pytest.approx(means, rel=1e-5)
    assert rows[2]["root_sum"] == pytest.approx(means[2] / 2, rel=1e-5)  # as it was


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_what_is_reported_for_each_micro_batch_is_averaged_as_it_is(
    tmp_path: Path, share: float
) -> None:
    loop = LoopWithClosures(n_micro=4)
    with TelemetryCallback(loop.model, loop.optimizer, store=tmp_path) as telemetry:
        for _ in range(3):
            loop.optimizer.zero_grad()
            for number in range(4):
                loss = loop.model(torch.ones(2, 3)).square().mean() * 0.0 + number
                (loss / 4).backward()
                if number == 3:
                    loop.optimizer.step()
                telemetry.step(loss=loss * share)
        assert telemetry.path is not None
    losses = [row["loss"] for row in records(telemetry.path, "steps")]
    assert losses[1:] == [1.5 * share] * 2


# --- the gradient of the first micro-batch ---


def micro_sums(store: Path, inputs: list[list[float]], *, every: int = 1) -> list[object]:
    """Steps of a linear function of four weights: the gradient of a micro-batch is its input."""
    model = nn.Linear(1, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with TelemetryCallback(
        model, optimizer, store=store, every=every, overhead_budget=None, strict=True
    ) as telemetry:
        for micro_batches in inputs:
            optimizer.zero_grad()
            for x in micro_batches:
                model(torch.tensor([[x]])).sum().backward()
            optimizer.step()
            telemetry.step()
        assert telemetry.path is not None
    return [row["micro_grad_sumsq"] for row in records(telemetry.path, "steps")]


def test_the_first_micro_batch_is_measured_once_a_step_has_accumulated(tmp_path: Path) -> None:
    # Four weights, each with the gradient x: the sum of squares is 4 x^2.
    found = micro_sums(tmp_path, [[1.0, 2.0], [3.0, 1.0], [5.0, 4.0, 1.0]])
    assert found == [None, 36.0, 100.0]


def test_one_backward_pass_is_no_micro_batch(tmp_path: Path) -> None:
    assert micro_sums(tmp_path, [[1.0], [2.0], [3.0]]) == [None, None, None]


def test_a_step_that_ends_after_one_pass_has_none(tmp_path: Path) -> None:
    assert micro_sums(tmp_path, [[1.0, 2.0], [3.0], [4.0, 1.0], [5.0, 1.0]]) == [
        None,
        None,
        None,
        100.0,
    ]


def test_steps_between_samples_have_none(tmp_path: Path) -> None:
    found = micro_sums(tmp_path, [[1.0, 1.0]] * 5, every=2)
    assert found == [None, None, 4.0, None, 4.0]
