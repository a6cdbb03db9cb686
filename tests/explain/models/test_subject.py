import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from explainable import Rows, build
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError

pytestmark = pytest.mark.torch


def state_of(model: nn.Module) -> list[Tensor]:
    return [
        *(p.detach().clone() for p in model.parameters()),
        *(b.clone() for b in model.buffers()),
    ]


def test_a_model_that_was_asked_is_as_before() -> None:
    model = build().train()
    model[0].eval()
    model[3].weight.requires_grad_(requires_grad=False)
    before, torch_state = state_of(model), torch.get_rng_state()
    python_state, numpy_state = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    subject = explain.load(model, dataset=Rows())
    with subject.running():
        assert not any(module.training for module in model.modules())
        subject.outputs(torch.randn(5, 4))
        torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(model), strict=True))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert model.training
    assert not model[0].training
    assert model[0].weight.requires_grad
    assert not model[3].weight.requires_grad


def test_a_model_in_training_mode_answers_the_same_twice() -> None:
    subject = explain.load(nn.Sequential(build(), nn.Dropout(0.5)).train())
    batch = torch.randn(6, 4)
    with subject.running():
        assert torch.equal(subject.outputs(batch), subject.outputs(batch))


def test_entry_points_are_resolved_from_the_application_folder(tmp_path: Path) -> None:
    (tmp_path / "shop_of_test.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build(width):\n    return nn.Linear(2, width)\n"
        "data = [(torch.ones(2), 0)]\n"
        "def make():\n    return data\n"
    )
    subject = explain.load(
        "shop_of_test:build",
        model_args={"width": 3},
        dataset="shop_of_test:make",
        app_dir=tmp_path,
    )
    assert subject.examples is not None
    assert subject.examples.name == "shop_of_test:make"
    assert subject.model.out_features == 3
    listed = explain.load(
        "shop_of_test:build", model_args={"width": 3}, dataset="shop_of_test:data", app_dir=tmp_path
    )
    assert listed.examples is not None
    assert len(listed.examples) == 1


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("explainable", "is not package.module:name"),
        ("os:system('ls')", "is not package.module:name"),
        ("no_such_module:build", "cannot be imported"),
        ("explainable:bild", "has no bild; the nearest are build"),
        ("explainable:CLASSES", "is a tuple, expected a callable"),
        ("explainable:Rows", "returned a Rows, expected an nn.Module"),
    ],
)
def test_entry_points_that_are_none_are_refused(entry: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint.replace("(", r"\(")):
        explain.load(entry)


@pytest.mark.parametrize(
    "entry", ["shutil:rmtree", "os:system", "subprocess:Popen", "builtins:exec", "borrowed:rmtree"]
)
def test_what_python_itself_brings_builds_no_model(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "borrowed.py").write_text("from shutil import rmtree\n", "utf-8")
    monkeypatch.delitem(sys.modules, "borrowed", raising=False)
    with pytest.raises(UsageError, match=f"model {entry} is part of Python"):
        explain.load(entry, app_dir=tmp_path)


def test_a_module_of_the_user_may_have_a_name_that_python_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "this.py").write_text(
        "import functools\nfrom torch import nn\n"
        "def build(width):\n    return nn.Linear(width, 2)\n"
        "small = functools.partial(build, 3)\n",
        "utf-8",
    )
    monkeypatch.delitem(sys.modules, "this", raising=False)
    assert isinstance(explain.load("this:small", app_dir=tmp_path).model, nn.Linear)
    built = explain.load("this:build", model_args={"width": 4}, app_dir=tmp_path).model
    assert isinstance(built, nn.Linear)
    sys.modules.pop("this")


def test_arguments_and_devices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be built"):
        explain.load("explainable:build", model_args={"depth": 3})
    with pytest.raises(UsageError, match=r"the model is an int, expected an nn\.Module or"):
        explain.load(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--device nonsense"):
        explain.load(build(), device="nonsense")
    with pytest.raises(UsageError, match="no such folder"):
        explain.load(build(), app_dir="/no/such/folder")


class Telling(nn.Module):
    """Gives a dictionary."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x[:, :2], "other": x}


def test_parts_of_an_output_are_named() -> None:
    batch = torch.randn(3, 4)
    with pytest.raises(UsageError, match=r"returns a dict.*--output-key .logits of shape .3, 2.,"):
        explain.load(Telling()).outputs(batch)
    assert explain.load(Telling(), output_key="logits").outputs(batch).shape == (3, 2)
    with pytest.raises(UsageError, match="the model returns logits, other"):
        explain.load(Telling(), output_key="logit").outputs(batch)
    summed = explain.load(Telling(), output_fn=lambda output: output["other"].sum(1))
    assert summed.outputs(batch).shape == (3,)


def test_shapes_that_are_no_answers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"returns shape \(3, 2, 2\) for 3 inputs"):
        explain.load(nn.Unflatten(1, (2, 2))).outputs(torch.randn(3, 4))
    with pytest.raises(UsageError, match=r"cannot be run on inputs of shape \(3, 5\)"):
        explain.load(build()).outputs(torch.randn(3, 5))
    convolution = explain.load(nn.Conv2d(3, 2, 3))
    with pytest.raises(UsageError, match=r"images must be channels x height x width.*permute"):
        convolution.outputs(torch.rand(2, 8, 8, 3))
    with pytest.raises(UsageError, match=r"they are torch.uint8; pass images as fractions"):
        convolution.outputs(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_weights_without_a_file_are_known_by_what_they_are() -> None:
    model = build()
    first = explain.load(model).identity
    assert first == explain.load(model).identity
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    assert explain.load(model).identity != first
    assert first.startswith("live:")


@dataclass
class Output:
    """What libraries of language models return."""

    logits: Tensor
    loss: Tensor | None = None


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        (lambda x: (x[:, :2], None), r"returns a tuple.*--output-key \(0 of shape \(3, 2\)\)"),
        (lambda x: Output(x[:, :2]), r"returns an Output.*\(logits of shape \(3, 2\)\)"),
        (lambda _x: "text", "returns a str, expected a tensor; name a function with --output-fn"),
    ],
)
def test_parts_that_may_be_meant_are_listed(
    output: Callable[[Tensor], object], advice: str
) -> None:
    class Giving(nn.Module):
        def forward(self, x: Tensor) -> object:
            return output(x)

    with pytest.raises(UsageError, match=advice):
        explain.load(Giving()).outputs(torch.randn(3, 4))


def test_a_reader_of_outputs_that_fails_is_named() -> None:
    asked = explain.load(nn.Linear(4, 2), output_fn=lambda _output: [].pop())
    with pytest.raises(UsageError, match="--output-fn cannot process the model's output, a Tensor"):
        asked.outputs(torch.randn(3, 4))


def test_a_model_of_torchscript_can_be_asked() -> None:
    model = torch.jit.script(build())  # type: ignore[no-untyped-call]
    found = explain.evaluate(explain.load(model, dataset=Rows()))
    assert len(found.rows) == 12
    assert all(parameter.requires_grad for parameter in model.parameters())
