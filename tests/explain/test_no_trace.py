"""Whatever is asked of a model, it is what it was afterwards, and so are the random states."""

from collections.abc import Callable

import pytest
import torch
from explainable import Rows
from torch import nn

from telemetry import explain
from telemetry.explain.examples import ExampleSet
from telemetry.explain.training_coverage import Settings

pytestmark = pytest.mark.torch


def model() -> nn.Module:
    """Draws and counts in training mode: a batch norm, a dropout, and no thought of the label."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)
    ).train()


def compare_sets(subject: explain.Subject) -> None:
    explain.coverage(subject, ExampleSet(Rows(), "a"), ExampleSet(Rows(), "b"), Settings(k=2))


VERBS: dict[str, Callable[[explain.Subject], object]] = {
    "perturb": lambda subject: explain.perturb(subject, "3", "feature:1"),
    "perturb_all": lambda subject: explain.perturb_all(subject, "feature:1"),
    "reduce": lambda subject: explain.reduce(subject, wrong_of(subject)),
    "coverage": compare_sets,
}


def wrong_of(subject: explain.Subject) -> str:
    rows = explain.evaluate(subject).rows
    return next(str(row["example_id"]) for row in rows if not row["correct"])


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_in_training_mode_is_left_as_it_was(verb: str) -> None:
    asked = model()
    subject = explain.load(asked, dataset=Rows())
    before = {name: value.clone() for name, value in asked.state_dict().items()}
    state = torch.get_rng_state()
    VERBS[verb](subject)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in asked.state_dict().items())
    assert all(module.training for module in asked.modules())
    assert all(parameter.requires_grad for parameter in asked.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in asked.modules())
