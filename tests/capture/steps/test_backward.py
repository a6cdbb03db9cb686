import pytest
import torch

from telemetry.capture.steps import backward


def test_both_forms_of_backward_are_seen_before_they_run() -> None:
    seen: list[tuple[float, bool]] = []
    x = torch.tensor(3.0, requires_grad=True)

    def observer(roots: object, _: object) -> None:
        (root,) = roots  # type: ignore[misc]
        seen.append((float(root.detach()), x.grad is None))

    original = torch.autograd.backward
    backward.observe(observer)
    (x * 2).backward()
    x.grad = None
    torch.autograd.backward([x * 3])
    backward.forget(observer)
    assert seen == [(6.0, True), (9.0, True)]
    assert torch.autograd.backward is original


def test_the_function_stays_while_somebody_observes() -> None:
    def first(*_: object) -> None:
        return

    def second(*_: object) -> None:
        return

    original = torch.autograd.backward
    backward.observe(first)
    backward.observe(second)
    backward.forget(first)
    assert torch.autograd.backward is not original
    backward.forget(second)
    backward.forget(second)
    assert torch.autograd.backward is original


def test_arguments_and_errors_of_backward_are_untouched() -> None:
    def observer(*_: object) -> None:
        return

    backward.observe(observer)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    torch.autograd.backward(x * x, torch.tensor([1.0, 10.0]), retain_graph=True)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * x).backward()
    backward.forget(observer)
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 40.0]


def test_a_backward_from_an_edge_of_the_graph_runs_and_has_no_root_to_tell() -> None:
    seen: list[object] = []

    def observer(roots: object, _: object) -> None:
        seen.append(roots)

    backward.observe(observer)
    x = torch.tensor(2.0, requires_grad=True)
    edge = torch.autograd.graph.get_gradient_edge(x * x)
    torch.autograd.backward(edge, torch.tensor(1.0))
    backward.forget(observer)
    assert seen == [()]
    assert x.grad is not None
    assert float(x.grad) == 4.0


def test_who_asks_during_a_pass_is_told_when_it_has_ended() -> None:
    told: list[str] = []
    x = torch.tensor(2.0, requires_grad=True)

    def observer(roots: object, waiting: backward.Waiting) -> None:
        del roots
        x.register_hook(lambda _: waiting.append(lambda _: told.append("in the pass")))
        waiting.append(lambda _: told.append(f"before it, gradient {x.grad}"))

    backward.observe(observer)
    (x * x).backward()
    backward.forget(observer)
    assert told == ["before it, gradient 4.0", "in the pass"]


def test_nobody_is_told_of_a_pass_that_failed() -> None:
    told: list[object] = []

    def observer(roots: object, waiting: backward.Waiting) -> None:
        del roots
        waiting.append(told.append)

    backward.observe(observer)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.tensor(2.0).backward()
    backward.forget(observer)
    assert told == []
