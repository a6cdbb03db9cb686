"""Backward passes are seen, and belong to the runs whose parameters they reach."""

from pathlib import Path

import pytest
import torch
from loops import records
from provenance import column, opened, scalar, steps, x
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from telemetry.capture.catalogue.catalogue import Catalogue
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


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


@pytest.mark.parametrize("every", [1, 1000])
def test_the_generator_of_a_gan_has_its_own_losses_alone(tmp_path: Path, every: int) -> None:
    """Generator 2z, critic 3y: of z = 1, 4 and real data 5 its losses are 30 - 15 and -30."""
    generator, critic = scalar(2.0), scalar(3.0)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.0) for part in (generator, critic)]
    of_generator = opened(generator, optimizers[0], tmp_path / "g", every=every, activations=True)
    of_critic = opened(critic, optimizers[1], tmp_path / "c", every=every, activations=True)
    for _ in range(3):
        fake = generator(x(1.0, 4.0))
        loss = critic(fake.detach()).sum() - critic(x(5.0)).sum()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        (-critic(fake)).sum().backward()
        optimizers[0].step()
    of_generator.close()
    of_critic.close()
    assert column(of_generator, "root_sum") == [-30.0] * 3
    assert column(of_generator, "backward_calls") == [1] * 3
    # The generator's loss reaches the critic after its step, so it is of the critic's next one.
    assert column(of_critic, "backward_calls") == [1, 2, 2, 1]
    assert column(of_critic, "root_sum") == [15.0, -15.0, -15.0, -30.0]


def test_a_critic_that_is_frozen_meanwhile_has_its_own_losses_alone(tmp_path: Path) -> None:
    generator, critic = scalar(2.0), scalar(3.0)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.0) for part in (generator, critic)]
    of_generator = opened(generator, optimizers[0], tmp_path / "g")
    of_critic = opened(critic, optimizers[1], tmp_path / "c")
    for _ in range(3):
        critic.requires_grad_(False)  # noqa: FBT003 - torch's own
        optimizers[0].zero_grad()
        (-critic(generator(x(1.0, 4.0)))).sum().backward()
        optimizers[0].step()
        critic.requires_grad_(True)  # noqa: FBT003 - torch's own
        optimizers[1].zero_grad()
        (critic(generator(x(1.0, 4.0)).detach()).sum() - critic(x(5.0)).sum()).backward()
        optimizers[1].step()
    of_generator.close()
    of_critic.close()
    assert column(of_generator, "root_sum") == [-30.0] * 3
    assert column(of_critic, "root_sum") == [15.0] * 3


def test_a_model_that_is_not_recorded_adds_nothing(tmp_path: Path) -> None:
    model, other = scalar(2.0), scalar(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(3):
            other(x(7.0)).sum().backward()
            optimizer.zero_grad()
            model(x(1.0)).sum().backward()
            optimizer.step()
        other(x(7.0)).sum().backward()
    rows = steps(telemetry)
    assert [(row["backward_calls"], row["root_sum"]) for row in rows] == [(1, 2.0)] * 3


def test_a_backward_pass_without_a_forward_of_the_model_is_its_own_if_it_reaches_it(
    tmp_path: Path,
) -> None:
    model = nn.Sequential(scalar(2.0), scalar(3.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(2):
            model[1](x(1.0)).sum().backward()  # a part of the model
            (model[0].weight ** 2).sum().backward()  # a penalty
            optimizer.step()
    assert column(telemetry, "root_sum") == [7.0] * 2


def test_another_models_backward_pass_tells_that_a_forward_was_no_evaluation(
    tmp_path: Path,
) -> None:
    """A generator makes data for a critic that is not recorded, and then something is logged."""
    generator, critic = scalar(2.0), scalar(3.0)
    optimizer = torch.optim.SGD(generator.parameters(), lr=0.0)
    with opened(generator, optimizer, tmp_path, activations=True) as telemetry:
        with torch.no_grad():
            fake = generator(x(1.0))
        critic(fake).sum().backward()
        telemetry.log(critic_loss=6.0)
        critic(generator(x(1.0))).sum().backward()
        optimizer.step()
    assert telemetry.path is not None
    assert {row["phase"] for row in records(telemetry.path, "module_stats")} == {"no_grad", "train"}


class Held(nn.Module):
    """A weight behind a reentrant checkpoint, whose graph is made in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = scalar(2.0)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = checkpoint(self.inner, inputs, use_reentrant=True)
        return output


def test_what_a_reentrant_checkpoint_hides_is_not_known() -> None:
    model = Held()
    catalogue = Catalogue(model, [])
    assert backward.reaches(catalogue, [model(x(1.0).requires_grad_()).sum()]) is None
    assert backward.reaches(catalogue, [model.inner(x(1.0)).sum()]) is True
    assert backward.reaches(catalogue, [scalar()(x(1.0)).sum()]) is False
    assert backward.reaches(catalogue, [x(1.0)]) is False


def test_a_large_graph_is_not_walked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "MAX_NODES", 10)
    value = scalar()(x(1.0))
    for _ in range(20):
        value = value.sin()
    assert backward.reaches(Catalogue(scalar(), []), [value]) is None


def test_one_callback_alone_never_walks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its model has run forward, a backward pass costs nothing more."""
    model = scalar(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    monkeypatch.setattr(backward, "reaches", None)
    with opened(model, optimizer, tmp_path) as telemetry:
        for _ in range(2):
            model(x(1.0)).sum().backward()
            optimizer.step()
    assert column(telemetry, "backward_calls") == [1, 1]
