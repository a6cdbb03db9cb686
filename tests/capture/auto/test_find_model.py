"""The module that an optimizer trains, among all that are alive."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from telemetry.capture.auto import find_model
from telemetry.capture.auto.find_model import root_of

pytestmark = pytest.mark.torch


class Autoencoder(nn.Module):
    """Called by its parts, never as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 2)
        self.decoder = nn.Linear(2, 4)


class Wrapper(nn.Module):
    """Holds a model, as DDP does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        return self.module(values)


def test_the_called_module_is_the_root_if_it_owns_everything() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    wrapper = Wrapper(model)
    optimizer = SGD(model.parameters())
    assert root_of([optimizer], wrapper) is wrapper
    assert root_of([optimizer], model) is model


def test_a_head_is_trained_inside_of_the_called_model() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert root_of([SGD(model[1].parameters())], model) is model


def test_a_called_part_leads_to_the_whole() -> None:
    model = Autoencoder()
    assert root_of([SGD(model.parameters())], model.encoder) is model


def test_of_a_model_and_its_wrapper_the_model_is_the_smaller() -> None:
    model = Autoencoder()
    wrapper = Wrapper(model)
    assert root_of([SGD(model.parameters())], None) is model
    assert wrapper.module is model


def test_a_copy_that_nobody_optimizes_is_never_the_root() -> None:
    model = Autoencoder()
    average = Wrapper(copy.deepcopy(model))
    optimizer = SGD(model.parameters())
    assert root_of([optimizer], None) is model
    assert root_of([optimizer], average) is model


def test_models_without_a_common_holder_stand_side_by_side_in_order_of_the_optimizers() -> None:
    critic, generator, loss = Autoencoder(), nn.Linear(2, 2), nn.Linear(1, 1)
    root = root_of(
        [SGD([*critic.parameters(), *loss.parameters()]), SGD(generator.parameters())], generator
    )
    names = dict(root.named_children())
    assert names == {"autoencoder": critic, "linear": loss, "linear_1": generator}
    assert list(names) == ["autoencoder", "linear", "linear_1"]


def test_a_model_has_the_name_that_the_script_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    monkeypatch.setattr("__main__.net_g", first, raising=False)
    monkeypatch.setattr("__main__.train", second, raising=False)  # taken by every module
    root = root_of([SGD(first.parameters()), SGD(second.parameters())], first)
    assert [name for name, _ in root.named_children()] == ["net_g", "train_1"]


def test_a_parameter_of_no_module_leaves_the_model_alone() -> None:
    model = Autoencoder()
    free = torch.zeros(3, requires_grad=True)
    assert root_of([SGD([*model.parameters(), free])], model.encoder) is model


def test_tensors_alone_have_an_empty_root() -> None:
    root = root_of([SGD([torch.zeros(3, requires_grad=True)])], None)
    assert list(root.parameters()) == []


def test_objects_that_pretend_to_be_modules_are_left_alone() -> None:
    class Pretender:
        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise AssertionError("asked for its class")

    pretender = Pretender()
    model = Autoencoder()
    assert root_of([SGD(model.parameters())], None) is model
    assert type(pretender) is Pretender
    assert find_model.owns(model, {id(model.encoder.weight)})
