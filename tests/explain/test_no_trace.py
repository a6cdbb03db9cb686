"""Whatever is asked of a model, it is what it was afterwards, and so are the random states."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explainable import Rows
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import Inconclusive
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.requests.explain.coverage import CoverageSettings
from telemetry.requests.explain.dream import DreamSettings

pytestmark = pytest.mark.torch

SIDE = 8


class Images:
    """Ten noisy images of two classes, as good as unknown to the model."""

    classes = ("dark", "light")
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        self.inputs = torch.rand(10, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], index % 2


def of_images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(3 * SIDE * SIDE, 2),
    )


def of_rows() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)
    )


def wrong_of(subject: explain.Subject) -> str:
    rows = explain.evaluate(subject).rows
    return next(str(row["example_id"]) for row in rows if not row["correct"])


def blur(subject: explain.Subject) -> None:
    """It need not help: a question that ends without an answer leaves no trace either."""
    with suppress(Inconclusive):
        explain.flip(subject, wrong_of(subject))


def compare_sets(subject: explain.Subject) -> None:
    settings = CoverageSettings(k=2)
    explain.coverage(subject, ExampleSet(Rows(), "a"), ExampleSet(Rows(), "b"), settings)


def evolve(subject: explain.Subject) -> None:
    for step in range(3):
        torch.save({"model": subject.model.state_dict(), "step": step}, f"{step}.pt")
    explain.evolution(subject, ["0.pt", "1.pt", "2.pt"])


def ask_hypotheses(subject: explain.Subject) -> None:
    Path("h.toml").write_text(
        '[[hypothesis]]\nname = "small"\nstatement = "s"\nkind = "min"\n'
        'dataset = "explainable:Rows"\n'
        'expect = { metric = "accuracy", op = ">=", value = 0.1 }\n',
        "utf-8",
    )
    explain.run_hypotheses(subject, "h.toml")


def attribute(method: str, subject: explain.Subject) -> None:
    segments = "grid:2x2" if method in {"lime", "kernelshap"} else None
    explain.attribute(subject, "3", "pred", method=method, segments=segments, samples=20)


def dream(subject: explain.Subject) -> None:
    explain.dream(subject, "0", ["1"], DreamSettings(steps=2, limit=4))


Verb = Callable[[explain.Subject], object]
OF_ROWS: dict[str, Verb] = {
    "evaluate": explain.evaluate,
    "perturb": lambda subject: explain.perturb(subject, "3", "feature:1"),
    "perturb_all": lambda subject: explain.perturb_all(subject, "feature:1"),
    "reduce": lambda subject: explain.reduce(subject, wrong_of(subject)),
    "coverage": compare_sets,
    "run_hypotheses": ask_hypotheses,
    "weights": explain.weights,
    "attribute row": lambda subject: explain.attribute(subject, "3", "pred"),
}
OF_IMAGES: dict[str, Verb] = {
    **{
        f"attribute {method}": partial(attribute, method)
        for method in ("ig", "occlusion", "lime", "kernelshap", "deconv", "guided")
    },
    "noise": lambda subject: explain.perturb(subject, "3", "noise"),
    "flip": blur,
    "features": lambda subject: explain.features(subject, "0"),
    "evolution": evolve,
    "dream": dream,
}
CASES = [
    *(pytest.param(of_rows, Rows, verb, id=name) for name, verb in OF_ROWS.items()),
    *(pytest.param(of_images, Images, verb, id=name) for name, verb in OF_IMAGES.items()),
]


def random_states() -> list[object]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the one that loops use
    return [torch.get_rng_state().tolist(), random.getstate(), kind, list(keys), rest]


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that an explanation could change: bits, identities, modes, flags, gradients, hooks."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "bits": {name: tensor.detach().clone().numpy().tobytes() for name, tensor in tensors},
        "identities": {name: id(tensor) for name, tensor in tensors},
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "hooks": [
            (len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ],
    }


@pytest.mark.parametrize(("build", "data", "verb"), CASES)
def test_a_model_in_training_mode_is_left_as_it_was(
    build: Callable[[], nn.Module],
    data: Callable[[], object],
    verb: Verb,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It draws and counts in training mode; one part is in evaluation mode, another is frozen."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    model = build().train()
    list(model.children())[1].eval()
    next(model.parameters()).requires_grad_(requires_grad=False)
    subject = explain.load(model, dataset=data())
    before, drawn = state_of(model), random_states()
    verb(subject)
    assert random_states() == drawn
    assert state_of(model) == before
    assert torch.is_grad_enabled()
