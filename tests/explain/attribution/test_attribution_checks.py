"""A12: every check that an attribution is held against bites where it should, and nowhere else."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.explain.attribution.attribution import Attribution
from telemetry.explain.attribution.checks import random_models, randomisation
from telemetry.explain.attribution.input_answers import sentence
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.attribution.local_model import stability, unstable_signs
from telemetry.explain.results.check import Check, determinism

pytestmark = pytest.mark.torch

SIDE = 16
NAMES = tuple("abcdefghij")


class Digits:
    """Images (1, 16, 16) and their digits; the first 300 train."""

    classes = tuple(map(str, range(10)))

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        raw = load_digits()
        small = torch.tensor(raw.images[:400] / 16, dtype=torch.float32)[:, None]
        self.images = functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
        self.labels = torch.tensor(raw.target[:400])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


@cache
def digits() -> Digits:
    return Digits()


@cache
def trained() -> nn.Sequential:
    """A network that knows three hundred digits."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    )
    data, optimizer = digits(), torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(60):
        picks = torch.arange(step * 50, step * 50 + 50) % 300
        optimizer.zero_grad()
        functional.cross_entropy(model(data.images[picks]), data.labels[picks]).backward()
        optimizer.step()
    return model


def asked(model: nn.Module, example: int = 305, **settings: object) -> Attribution:
    subject = explain.load(model, dataset=digits())
    return attribute(subject, str(example), "pred", **{"baseline": "zero", **settings})  # type: ignore[arg-type]


def check(found: Attribution, name: str) -> Check:
    return next(one for one in found.checks if one.name == name)


def is_said(found: Attribution, name: str) -> bool:
    """Whether the check failed, the answer as a whole with it, and the sentence says why."""
    failed = check(found, name)
    return not failed.ok and not found.ok and failed.meaning in sentence(found)


@pytest.mark.parametrize("method", ["ig", "occlusion"])
def test_a_trained_network_passes_every_check(method: str) -> None:
    found = asked(trained(), method=method)
    assert [one.name for one in found.checks if not one.ok] == []
    assert check(found, "deletion").value < check(found, "deletion").threshold
    assert check(found, "insertion").value > check(found, "insertion").threshold
    assert "all checks passed" in sentence(found)


def test_guided_maps_survive_a_random_output_layer_which_is_no_verdict_on_an_input() -> None:
    found = asked(trained(), method="guided")
    assert found.method_check is not None
    of_method = found.method_check.check
    assert not of_method.ok
    assert "the output layer down to 3 gives" in of_method.meaning
    (said,) = (text for text in found.warnings if of_method.meaning in text)
    assert said.startswith("of guided under these weights, and no verdict on this input: ")
    assert said.endswith(f"(asked of example {found.example.id})")
    assert of_method.meaning not in sentence(found)
    assert "randomisation" not in {one.name for one in found.checks}
    own = asked(trained(), method="ig").method_check
    assert own is not None
    assert abs(own.check.value) < 0.3


def test_a_method_is_asked_about_once_under_the_same_weights() -> None:
    subject = explain.load(trained(), dataset=digits())
    settings = {"method": "occlusion", "baseline": "zero"}
    first, second = (attribute(subject, place, "pred", **settings) for place in ("305", "306"))  # type: ignore[arg-type]
    assert first.method_check is second.method_check is not None
    assert second.method_check.example_id == first.example.id
    assert second.forwards < first.forwards
    with torch.no_grad():
        subject.model.get_submodule("6").weight.mul_(1.5)  # type: ignore[union-attr,operator]
    other = attribute(subject, "306", "pred", **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        subject.model.get_submodule("6").weight.div_(1.5)  # type: ignore[union-attr,operator]
    assert other.method_check is not None
    assert other.method_check.example_id == second.example.id


def test_a_deconvolution_that_no_input_changes_is_said_to_be_one_picture() -> None:
    torch.manual_seed(0)
    pooled = asked(trained(), method="deconv", check=False)
    n_places = (SIDE - 2) ** 2
    said = "every input gives this picture"
    assert not any(said in text for text in pooled.warnings)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * n_places, 2))
    items = [
        (image, int(label > 4))
        for image, label in zip(digits().images, digits().labels, strict=True)
    ]
    one = attribute(
        explain.load(nn.Sequential(*layers), dataset=items),
        "305",
        "pred",
        method="deconv",
        check=False,
    )
    assert any(said in text for text in one.warnings)


@pytest.mark.parametrize(
    ("kept", "said", "n_asked"),
    [
        ("3", None, 10),  # another output layer, another map: nothing more is asked
        ("2", "a random output layer", 15),
        ("1", "random weights from the output layer down to 2", 15),
        ("", "random weights", 10),  # whatever the weights
    ],
)
def test_how_deep_random_weights_leave_a_map_the_same_is_said(
    kept: str, said: str | None, n_asked: int
) -> None:
    """A map of 50 values that is shuffled as soon as one layer has other weights."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    own, asked_about = torch.arange(50.0), []

    def explained(other: nn.Module) -> Tensor:
        asked_about.append(other)
        weights = [one.get_submodule(kept).state_dict() for one in (other, model)] if kept else []
        if not weights or torch.equal(weights[0]["weight"], weights[1]["weight"]):
            return own
        return torch.rand(50, generator=torch.Generator().manual_seed(len(asked_about)))

    found = randomisation(explained, model, own, own >= 0, ["0", "1", "2", "3"])
    assert found.ok == (said is None)
    assert said is None or found.meaning == f"a model with {said} gives nearly the same picture"
    assert len(asked_about) == n_asked


def test_a_map_of_a_random_model_is_told_from_nothing() -> None:
    """What a random model is explained by is like what another random model is explained by."""

    class Brightness(nn.Module):
        """Counts light, whatever its weights."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(1, 1)
            self.head = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            light = x.flatten(1).sum(1)
            return torch.stack([light, -light] + [light * 0] * 8, dim=1)

    found = asked(Brightness()).method_check
    assert found is not None
    assert not found.check.ok


def test_few_values_are_ranked_by_more_random_models() -> None:
    """Two values are in the same order by chance every other time: five models say nothing."""
    assert random_models(2) == 36
    assert random_models(4) == 12
    assert random_models(36) == 5
    assert random_models(1) == 5


def test_the_few_columns_of_a_table_pass() -> None:
    """A trained linear model of two columns, whatever the signs of random ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    rows = torch.randn(40, 2)
    labels = (rows[:, 0] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
    items = [(row, int(label)) for row, label in zip(rows, labels, strict=True)]
    subject = explain.load(model, dataset=items)
    for example in range(5):
        found = attribute(subject, str(example), "pred", method="occlusion")
        assert found.method_check is not None
        assert found.method_check.check.ok


def test_a_model_that_is_random_fails_determinism() -> None:
    class AlwaysTraining(nn.Dropout):
        """As if somebody had forgotten `eval()`."""

        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(x, 0.5, training=True)

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.noise = trained(), AlwaysTraining()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            torch.manual_seed(self.calls)
            return self.model(self.noise(x))

    assert is_said(asked(Noisy(), check=False), "determinism")


def test_two_equal_calls_agree() -> None:
    values = torch.tensor([1.0, -2.0])
    assert determinism(values, values.clone()).ok
    assert not determinism(values, values + 1e-4).ok


def test_a_model_that_rounds_passes_no_gradient() -> None:
    class Rounding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return trained()(torch.round(4 * x) / 4)

    assert is_said(asked(Rounding(), check=False), "not_empty")


def test_a_step_that_is_too_steep_to_integrate_is_told() -> None:
    class Step(nn.Module):
        """Jumps within 1e-7 of the sum: no 1,024 points of the line meet that."""

        def forward(self, x: Tensor) -> Tensor:
            score = torch.sigmoid(1e7 * (x.double().flatten(1).sum(1) - 20.123456))
            return torch.stack([score] + [score * 0] * 9, dim=1)

    found = asked(Step(), check=False)
    assert is_said(found, "completeness")
    assert "float32" not in check(found, "completeness").meaning


def test_weights_of_half_precision_are_named_where_the_sum_fails() -> None:
    """Near 100 numbers of bfloat16 lie half a unit apart: the score moves in halves only."""

    def offset(dtype: torch.dtype) -> Attribution:
        model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 10))
        with torch.no_grad():
            model[1].weight.zero_()
            model[1].bias.zero_()
            model[1].weight[0], model[1].bias[0] = 0.01, 100.0
        return asked(model.to(dtype), check=False)

    found = offset(torch.bfloat16)
    assert is_said(found, "completeness")
    assert "computes in bfloat16" in check(found, "completeness").meaning
    assert "load it in float32" in check(found, "completeness").meaning
    assert check(offset(torch.float32), "completeness").ok


class Spread(nn.Module):
    """Every one of 36 cells speaks for the first class, about as much as the next."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(0.5 + torch.rand(SIDE * SIDE, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        score = torch.tanh((x.flatten(1) + 0.5) @ self.weight / 200) * 5
        return torch.stack([score] + [score * 0] * 9, dim=1)


def test_few_samples_of_spread_evidence_are_unstable() -> None:
    found = asked(Spread(), method="lime", samples=50, check=False)
    assert len(found.segments) == 36
    assert is_said(found, "stability")


def test_noise_beside_one_strong_part_is_stable() -> None:
    """Of the sets of the five strongest only one part is the same: their index would be 1/9."""
    first = torch.tensor([10.0, 0.1, 0.1, 0.1, 0.1, 0, 0, 0, 0])
    second = torch.tensor([10.0, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1])
    found = stability([first, second, first], NAMES)
    assert found.value == pytest.approx(10 / 10.8)
    assert found.ok


def test_where_all_speaks_against_the_score_no_part_need_be_first() -> None:
    """What is left of the first part is noise: its place says nothing."""
    first, second = torch.tensor([1e-6, 0, -4.0, -2.0]), torch.tensor([0, 1e-6, -4.0, -2.0])
    assert stability([first, second], NAMES).ok
    assert not stability([first, -second], NAMES).ok


def test_an_answer_that_nothing_speaks_for_says_so() -> None:
    class Against(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 500 - x.flatten(1).sum(1)
            return torch.stack([score] + [score * 0] * 9, dim=1)

    assert "no part carries any of the evidence" in sentence(asked(Against(), check=False))


def test_spread_evidence_that_moves_is_unstable() -> None:
    first = torch.tensor([1.1, 1.0, 1.0, 1.0, 1.0, 0, 0, 0, 0])
    second = torch.tensor([1.1, 0, 0, 0, 0, 1.0, 1.0, 1.0, 1.0])
    found = stability([first, second], NAMES)
    assert found.value == pytest.approx(1.1 / 9.1)
    assert not found.ok
    assert not stability([first, first.flip(0)], NAMES).ok


def test_another_first_part_is_unstable_however_close() -> None:
    first, second = torch.tensor([1.01, 1.0, 0.0]), torch.tensor([1.0, 1.01, 0.0])
    found = stability([first, second], NAMES)
    assert found.value > 0.9
    assert not found.ok
    assert "a and b are too close to rank" in found.meaning


def test_parts_whose_sign_depends_on_the_draw_are_marked() -> None:
    maps = [torch.tensor([1.0, -1.0, 0.2]), torch.tensor([2.0, -1.0, -0.1])]
    assert unstable_signs(maps).tolist() == [False, False, True]
    found = asked(Spread(), method="lime", samples=20, check=False)
    assert found.unstable.any()
    assert {part.is_unstable for part in found.top(36)} == {True, False}


class Substitute(nn.Module):
    """A mark that another can stand in for, and three that each do a little alone."""

    def forward(self, x: Tensor) -> Tensor:
        corners = torch.maximum(x[:, 0, 0, 0], 0.9 * x[:, 0, -1, -1])
        score = corners + 0.3 * (x[:, 0, 0, 5] + x[:, 0, 5, 0] + x[:, 0, 5, 5])
        return torch.stack([score] + [score * 0] * 9, dim=1)


class White(Digits):
    """Images of ones."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.ones(1, SIDE, SIDE), 0


def test_methods_that_disagree_are_named_in_the_sentence() -> None:
    """On the line from black the first corner does all; hidden, the last one stands in for it."""
    subject = explain.load(Substitute(), dataset=White())
    found = attribute(subject, "0", "pred", baseline="zero", segments="grid:8x8")
    assert found.top(1)[0].segment == "r0c0"
    assert is_said(found, "agreement")
    assert check(found, "agreement").value == 4
    assert "methods disagree: r0c0 by ig, r0c2 by occlusion" in sentence(found)
    assert found.compared is not None
    assert (found.compared.method, found.compared.best) == ("occlusion", "r0c2")


def test_another_method_may_agree() -> None:
    """Of the first corner Shapley values give half of what both do, and 0.1: the most."""
    subject = explain.load(Substitute(), dataset=White())
    settings = {"baseline": "zero", "segments": "grid:3x4", "compare": "kernelshap"}
    found = attribute(subject, "0", "pred", **settings)
    assert found.compared is not None
    assert (found.compared.method, found.compared.agrees) == ("kernelshap", True)
    assert "methods disagree" not in sentence(found)
