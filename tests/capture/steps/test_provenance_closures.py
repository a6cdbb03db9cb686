"""Closures: what is recorded is their first evaluation, at the weights before the step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from provenance import opened, scalar, steps, tensors, x
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Closure:
    """Squares the output for an input of one; counts its evaluations."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.n_evaluations = 0
        self._model = model
        self._optimizer = optimizer

    def __call__(self) -> Tensor:
        self.n_evaluations += 1
        self._optimizer.zero_grad()
        loss: Tensor = self._model(x(1.0)).square().sum()
        loss.backward()
        return loss


@pytest.mark.parametrize("with_calls", [True, False])
def test_lbfgs_is_recorded_at_the_weights_before_each_step(
    tmp_path: Path,
    with_calls: bool,  # noqa: FBT001
) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    closure = Closure(model, optimizer)
    weights, evaluations = [1.0], []
    with opened(model, optimizer, tmp_path, activations=True) as telemetry:
        for _ in range(2):
            before = closure.n_evaluations
            loss = optimizer.step(closure)
            evaluations.append(closure.n_evaluations - before)
            weights.append(model.weight.item())
            if with_calls:
                telemetry.step(loss=loss)
    assert min(evaluations) > 1
    rows = steps(telemetry)
    assert [row["step"] for row in rows] == [0, 1]
    assert [row["backward_calls"] for row in rows] == evaluations
    assert [(row["accumulation"], row["samples"]) for row in rows] == [(1, 1), (1, 1)]
    assert [int(str(row["flags"])) & 1 for row in rows] == [1, 1]
    for step in range(2):
        before_step, after_step = weights[step], weights[step + 1]
        assert rows[step]["loss"] == pytest.approx(before_step**2)
        assert rows[step]["root_sum"] == pytest.approx(before_step**2)
        assert rows[step]["grad_norm_total"] == pytest.approx(2 * abs(before_step))
        found = {kind: tensors(telemetry)[step, "weight", kind]["sum"] for kind in KINDS}
        assert found["weight"] == pytest.approx(before_step)
        assert found["gradient"] == pytest.approx(2 * before_step)
        assert found["update"] == pytest.approx(after_step - before_step)


KINDS = ("weight", "gradient", "update")


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_closure_of_any_optimizer_is_seen(
    tmp_path: Path,
    kind: type[torch.optim.Optimizer],
    by_name: bool,  # noqa: FBT001
) -> None:
    model = scalar(1.0)
    optimizer = kind(model.parameters(), lr=0.25)  # type: ignore[call-arg]
    closure = Closure(model, optimizer)
    with opened(model, optimizer, tmp_path) as telemetry:
        result = optimizer.step(closure=closure) if by_name else optimizer.step(closure)
    assert closure.n_evaluations == 1
    assert isinstance(result, Tensor)
    assert result.item() == 1.0
    (row,) = steps(telemetry)
    assert (row["loss"], row["backward_calls"], row["grad_norm_total"]) == (1.0, 1, 2.0)
    moved = -0.5 if kind is torch.optim.SGD else -0.25
    assert tensors(telemetry)[0, "weight", "update"]["sum"] == pytest.approx(moved)


def test_a_closure_may_accumulate_clip_and_report_another_loss(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    n_evaluations = 0

    def closure() -> float:
        nonlocal n_evaluations
        n_evaluations += 1
        optimizer.zero_grad()
        for _ in range(2):
            (model(x(1.0)).square().sum() / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        return 7.0 * n_evaluations

    with opened(model, optimizer, tmp_path) as telemetry:
        optimizer.step(closure)  # type: ignore[arg-type]
        first = n_evaluations
        optimizer.step(closure)  # type: ignore[arg-type]
    rows = steps(telemetry)
    assert first > 1
    assert [row["accumulation"] for row in rows] == [2, 2]
    assert rows[0]["backward_calls"] == 2 * first
    assert [row["loss"] for row in rows] == [7.0, 7.0 * (first + 1)]
    assert rows[0]["root_sum"] == 1.0
    assert rows[0]["grad_norm_total"] == pytest.approx(2.0)
    assert rows[0]["clip_coefficient"] == pytest.approx(0.25)
    seen = tensors(telemetry)[1, "weight", "gradient"]
    assert seen["sumsq"] == pytest.approx(0.25, rel=1e-4)
    ratio = 0.5 / float(str(rows[1]["grad_norm_total"]))
    assert seen["scale"] == pytest.approx(ratio, rel=1e-4)


def test_what_the_loop_reports_counts_more_than_what_the_closure_returns(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with opened(model, optimizer, tmp_path) as telemetry:
        optimizer.step(Closure(model, optimizer))  # type: ignore[arg-type]
        telemetry.step(loss=5.0)
    (row,) = steps(telemetry)
    assert (row["loss"], row["root_sum"]) == (5.0, 1.0)


def returns_nothing(closure: Closure) -> Callable[[], None]:
    def call() -> None:
        closure()

    return call


def test_a_closure_that_returns_nothing_leaves_the_root_as_the_loss(tmp_path: Path) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with opened(model, optimizer, tmp_path) as telemetry:
        optimizer.step(returns_nothing(Closure(model, optimizer)))  # type: ignore[arg-type]
    (row,) = steps(telemetry)
    assert (row["loss"], row["flags"]) == (1.0, 16)


def test_an_exception_in_a_closure_reaches_the_loop_and_the_next_step_is_right(
    tmp_path: Path,
) -> None:
    model = scalar(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)

    def fail() -> float:
        raise ZeroDivisionError

    with opened(model, optimizer, tmp_path) as telemetry:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(fail)
        optimizer.step(Closure(model, optimizer))  # type: ignore[arg-type]
    (row,) = steps(telemetry)
    assert (row["step"], row["loss"], row["grad_norm_total"]) == (0, 1.0, 2.0)
