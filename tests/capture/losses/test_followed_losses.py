"""Losses that a loop writes out: what they read, and what the best constant answer costs."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from telemetry import TelemetryCallback
from telemetry.diagnose.context import RunContext, load_context
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.store import Store

pytestmark = pytest.mark.torch
N_CLASSES = 4
N_STEPS = 24
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def train(
    store: Path, loss: Loss, *last: nn.Module, outputs: int = 1, labels: bool = False
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs), *last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    truth = torch.randn(6, N_CLASSES)
    with TelemetryCallback(model, optimizer, store=store, every=2, overhead_budget=None):
        for _ in range(N_STEPS):
            inputs = torch.randn(64, 6)
            scores = inputs @ truth
            optimizer.zero_grad()
            loss(model, inputs, scores.argmax(1) if labels else scores[:, 0] + 2).backward()
            optimizer.step()
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()


def context(store: Path) -> RunContext:
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        return load_context(session, opened.runs()[0].run)


def rows(store: Path) -> list[dict[str, SqlValue]]:
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        found = session.query("SELECT * FROM loss_graphs ORDER BY step", {})
        return [dict(record) for record in found.records()]


def entropy(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    p = model(inputs)
    return -torch.log(p[range(len(labels)), labels]).mean()


def gathered(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return -functional.log_softmax(model(inputs), 1).gather(1, labels[:, None]).mean()


def squared(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return ((model(inputs)[:, 0] - targets) ** 2).mean()


def huber(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    error = model(inputs)[:, 0] - targets
    return torch.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5).mean()


def penalised(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return squared(model, inputs, targets) + 1e-3 * sum((p**2).sum() for p in model.parameters())


def triplet(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    del targets
    a, p, n = model(inputs), model(inputs + 0.1), model(inputs.flip(0))
    return functional.relu((a - p).pow(2).sum(1) - (a - n).pow(2).sum(1) + 1).mean()


def binary(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    p, y = model(inputs)[:, 0], (targets > 2).float()
    return -(y * torch.log(p + 1e-7) + (1 - y) * torch.log(1 - p + 1e-7)).mean()


@pytest.mark.parametrize("loss", [entropy, gathered])
def test_a_written_out_entropy_has_the_level_of_the_labels(tmp_path: Path, loss: Loss) -> None:
    last = [nn.Softmax(1)] if loss is entropy else []
    train(tmp_path, loss, *last, outputs=N_CLASSES, labels=True)
    levels = context(tmp_path).baseline
    assert levels.naive == pytest.approx(math.log(N_CLASSES), rel=1e-3)
    assert levels.constant is not None
    assert 0.8 * math.log(N_CLASSES) < levels.constant <= 1.02 * math.log(N_CLASSES)


def test_no_constant_costs_more_than_knowing_nothing(tmp_path: Path) -> None:
    """Two labels tell little of four classes: the first constants run off, the next must not."""
    labels = iter([[0, 1], [2, 3]] + [[0, 1, 2, 3]] * N_STEPS)
    model = nn.Linear(1, N_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    with TelemetryCallback(model, optimizer, store=tmp_path, every=1, overhead_budget=None):
        for _ in range(N_STEPS):
            targets = torch.tensor(next(labels))
            optimizer.zero_grad()
            gathered(model, torch.ones(len(targets), 1), targets).backward()
            optimizer.step()
    costs = [row["constant_loss"] for row in rows(tmp_path) if row["constant_loss"] is not None]
    assert costs
    assert max(costs) <= math.log(N_CLASSES) * 1.02


@pytest.mark.parametrize(("batch", "is_known"), [(2, False), (4, True)])
def test_a_constant_that_a_few_labels_are_learned_by_is_no_level(
    tmp_path: Path,
    batch: int,
    is_known: bool,  # noqa: FBT001
) -> None:
    """Four batches of two hold eight labels of four classes, four of four sixteen."""
    model = nn.Linear(1, N_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with TelemetryCallback(model, optimizer, store=tmp_path, every=1, overhead_budget=None):
        for step in range(N_STEPS):
            targets = (step + torch.arange(batch)) % N_CLASSES
            optimizer.zero_grad()
            gathered(model, torch.ones(batch, 1), targets).backward()
            optimizer.step()
    assert (context(tmp_path).baseline.constant is not None) == is_known


def test_a_written_out_squared_error_has_the_level_of_the_known_one(tmp_path: Path) -> None:
    def known(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(model(inputs)[:, 0], targets)

    train(tmp_path / "own", squared)
    train(tmp_path / "known", known)
    own, other = (context(tmp_path / name).baseline for name in ("own", "known"))
    assert other.kind == "mse_loss"
    assert own.constant == pytest.approx(other.constant, rel=0.1)


@pytest.mark.parametrize("loss", [huber, penalised, triplet])
def test_losses_of_several_operations_have_a_level(tmp_path: Path, loss: Loss) -> None:
    train(tmp_path, loss, outputs=8 if loss is triplet else 1)
    levels = context(tmp_path).baseline
    assert levels.constant is not None, levels
    if loss is triplet:
        assert levels.constant == pytest.approx(1.0)


def test_a_written_out_binary_entropy_has_at_most_the_level_of_a_coin(tmp_path: Path) -> None:
    train(tmp_path, binary, nn.Sigmoid())
    levels = context(tmp_path).baseline
    assert levels.kind == "binary_cross_entropy"
    assert levels.constant == pytest.approx(math.log(2), abs=0.05)


def test_bare_numbers_that_are_clamped_to_probabilities_have_the_level_of_a_coin(
    tmp_path: Path,
) -> None:
    """Outside of 0 and 1, where the answers begin, no gradient leads back."""

    def clamped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        p, y = model(inputs)[:, 0].clamp(1e-7, 1 - 1e-7), (targets > 2).float()
        return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()

    train(tmp_path, clamped)
    assert context(tmp_path).baseline.constant == pytest.approx(math.log(2), abs=0.05)


def test_outputs_that_meet_every_target_are_seen(tmp_path: Path) -> None:
    train(tmp_path, lambda model, x, y: ((model(x) - y) ** 2).mean())
    found = rows(tmp_path)
    assert found
    assert all(row["is_broadcast"] for row in found)
    assert {(row["output_shape"], row["target_shape"]) for row in found} == {("64x1", "64")}


def test_pairs_that_were_written_so_are_no_mistake(tmp_path: Path) -> None:
    train(tmp_path, lambda model, x, y: (model(x)[:, 0][:, None] - y[None]).abs().mean())
    found = rows(tmp_path)
    assert found
    assert not any(row["is_broadcast"] for row in found)


def test_what_draws_random_numbers_is_not_run_again(tmp_path: Path) -> None:
    def dropped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return ((functional.dropout(model(inputs)[:, 0], 0.5) - targets) ** 2).mean()

    train(tmp_path, dropped)
    found = rows(tmp_path)
    assert all(row["constant_loss"] is None and row["reason"] for row in found)


class OwnMode(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        del types
        return func(*args, **(kwargs or {}))


def test_a_mode_of_the_training_around_its_loss_is_left_as_it_is(tmp_path: Path) -> None:
    before = torch.utils._python_dispatch._is_in_torch_dispatch_mode

    def moded(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        answers = model(inputs)
        with OwnMode():
            loss = ((answers[:, 0] - targets) ** 2).mean()
            loss.backward(retain_graph=True)
        return loss * 0 + loss.detach() + loss - loss.detach()

    train(tmp_path, moded)
    assert torch.utils._python_dispatch._is_in_torch_dispatch_mode == before


def hinge(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    scores, labels = model(inputs)[:, 0], torch.where(targets > 2, 1, 2)
    return (1 - (2 * labels - 1) * scores).clamp_min(0).mean()


def smoothed(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    soft = 0.9 * functional.one_hot(labels * 0, N_CLASSES) + 0.1 / N_CLASSES
    return -(soft * functional.log_softmax(model(inputs), 1)).sum(1).mean()


def clipped(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    shares = model(inputs).softmax(1).clamp_min(1e-7)
    return -torch.log(shares[torch.arange(len(labels)), labels]).mean()


def test_labels_are_followed_to_where_they_were_made_from(tmp_path: Path) -> None:
    train(tmp_path, hinge)
    found = rows(tmp_path)
    assert found
    assert {(row["operation"], row["label_min"], row["label_max"]) for row in found} == {
        ("mul", 1.0, 2.0)
    }
    assert {(row["target_min"], row["target_max"]) for row in found} == {(1.0, 3.0)}


def test_rows_that_are_all_equal_have_no_spread(tmp_path: Path) -> None:
    train(tmp_path, smoothed, outputs=N_CLASSES, labels=True)
    found = rows(tmp_path)
    assert found
    assert {(row["target_spread"], row["first_label"]) for row in found} == {(0.0, 0.0)}


def test_an_output_that_is_clipped_is_still_the_output(tmp_path: Path) -> None:
    train(tmp_path, clipped, outputs=N_CLASSES, labels=True)
    found = rows(tmp_path)
    assert found
    assert all(row["is_output"] and row["target_spread"] == N_CLASSES - 1 for row in found)


@pytest.mark.parametrize("loss", [squared, binary])
@pytest.mark.parametrize("column", [None, 2])
def test_a_column_of_the_input_that_is_the_target_is_named(
    tmp_path: Path, loss: Loss, column: int | None
) -> None:
    def given(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        wanted = (targets > 2).float() if loss is binary else targets
        if column is not None:
            inputs[:, column] = 3 * wanted - 1
        return loss(model, inputs, targets)

    train(tmp_path, given, *([nn.Sigmoid()] if loss is binary else []))
    found = rows(tmp_path)
    assert {row["input_column"] for row in found[: N_STEPS // 4]} == {
        -1 if column is None else column
    }


def test_an_input_without_columns_holds_no_target(tmp_path: Path) -> None:
    train(tmp_path, lambda model, x, y: squared(model, x[:, None], y[:, None]))
    assert {row["input_column"] for row in rows(tmp_path)} == {None}


@pytest.mark.parametrize(("last", "head"), [(nn.ReLU(), "relu"), (nn.Identity(), "")])
def test_the_last_operation_of_class_scores_is_known(
    tmp_path: Path, last: nn.Module, head: str
) -> None:
    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(inputs), labels)

    train(tmp_path, loss, last, outputs=N_CLASSES, labels=True)
    followed = [row for row in rows(tmp_path) if row["operation"] is not None]
    assert {row["output_head"] for row in followed} == {head}
    assert {row["head"] for row in followed} == {"log_softmax"}
