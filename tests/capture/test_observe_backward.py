import pytest
import torch

from telemetry.capture import observe_backward


def test_both_forms_of_backward_are_seen_before_they_run() -> None:
    seen: list[tuple[float, bool]] = []
    x = torch.tensor(3.0, requires_grad=True)

    def observer(roots: object) -> None:
        (root,) = roots  # type: ignore[misc]
        seen.append((float(root.detach()), x.grad is None))

    original = torch.autograd.backward
    observe_backward.observe(observer)
    (x * 2).backward()
    x.grad = None
    torch.autograd.backward([x * 3])
    observe_backward.forget(observer)
    assert seen == [(6.0, True), (9.0, True)]
    assert torch.autograd.backward is original


def test_the_function_stays_while_somebody_observes() -> None:
    def first(roots: object) -> None:
        del roots

    def second(roots: object) -> None:
        del roots

    original = torch.autograd.backward
    observe_backward.observe(first)
    observe_backward.observe(second)
    assert observe_backward.n_observers() == 2
    observe_backward.forget(first)
    assert torch.autograd.backward is not original
    observe_backward.forget(second)
    observe_backward.forget(second)
    assert torch.autograd.backward is original


def test_arguments_and_errors_of_backward_are_untouched() -> None:
    def observer(roots: object) -> None:
        del roots

    observe_backward.observe(observer)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    torch.autograd.backward(x * x, torch.tensor([1.0, 10.0]), retain_graph=True)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * x).backward()
    observe_backward.forget(observer)
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 40.0]


def test_a_backward_from_an_edge_of_the_graph_runs_and_has_no_root_to_tell() -> None:
    seen: list[object] = []
    observe_backward.observe(seen.append)
    x = torch.tensor(2.0, requires_grad=True)
    edge = torch.autograd.graph.get_gradient_edge(x * x)
    torch.autograd.backward(edge, torch.tensor(1.0))
    observe_backward.forget(seen.append)
    assert seen == [()]
    assert x.grad is not None
    assert float(x.grad) == 4.0
