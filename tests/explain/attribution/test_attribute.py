"""Attributions against planted truth: a model whose reasons are known in closed form."""

import json

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.checks import rank_correlation
from telemetry.explain.attribution.input_answers import FORMAT, sentence
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.requests.explain.input import METHODS

pytestmark = pytest.mark.torch

SIDE, CELL = 12, 2  # pixels; the mark is one cell of a 6 x 6 grid
MARK = "r4c1"


class Marked:
    """Noise images of one channel; `1` where the mark is bright, and one label that is wrong."""

    classes = ("plain", "marked")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.rand(10, 1, SIDE, SIDE, generator=generator)
        for index in range(5):
            self.images[index, 0, 8:10, 2:4] = 3.0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(0 < index < 5)  # the first is called marked, and is not


class Detector(nn.Module):
    """Sees the mark through a layer of ReLUs, and nearly nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIDE * SIDE, 2)
        self.second = nn.Linear(2, 2)
        weight = torch.full((1, SIDE, SIDE), 0.01)
        weight[0, 8:10, 2:4] = 1.0
        with torch.no_grad():
            self.first.weight.copy_(torch.stack([weight.flatten(), -weight.flatten()]))
            self.first.bias.copy_(torch.tensor([-5.0, 5.0]))
            self.second.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x.flatten(1))))


@pytest.fixture
def subject() -> explain.Subject:
    return explain.load(Detector(), dataset=Marked())


@pytest.mark.parametrize("method", METHODS)
def test_the_planted_part_is_found_by_every_method(subject: explain.Subject, method: str) -> None:
    found = attribute(
        subject, "0", "wrong", method=method, baseline="zero", samples=300, check=False
    )
    assert (found.prediction, found.label) == ("marked", "plain")
    assert (found.score.target_name, found.score.other_name) == ("marked", "plain")
    best = found.top(1)[0]
    assert best.segment == MARK
    assert best.box == (8, 2, 10, 4)
    assert best.share >= (0.6 if method not in {"deconv", "guided"} else 0.3)
    assert found.values.shape == (1, SIDE, SIDE)


@pytest.mark.parametrize("method", ["ig", "occlusion", "kernelshap"])
def test_a_linear_model_is_attributed_exactly(method: str) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2, bias=False)
            with torch.no_grad():
                self.head.weight.copy_(torch.tensor([[0.0] * 4, [1.0, -2.0, 3.0, 0.0]]))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x)

    class Row:
        feature_names = ("a", "b", "c", "d")

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.tensor([1.0, 1.0, 2.0, 5.0]), 1

    found = attribute(
        explain.load(Linear(), dataset=Row()),
        "0",
        "pred",
        method=method,
        baseline="zero",
        check=False,
    )
    assert found.per_segment.tolist() == pytest.approx([1.0, -2.0, 6.0, 0.0], abs=1e-3)
    assert found.segments.names == ("a", "b", "c", "d")
    assert found.segments.how == "feature"
    assert found.score_input == pytest.approx(5.0)
    assert found.score_baseline == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("method", "library", "params"),
    [
        ("ig", "captum ", {"steps": 32, "baselines": {"blur": 1, "zero": 1}}),
        ("occlusion", "captum ", {"segments": "grid:6x6", "compare": None}),
        ("lime", "captum ", {"samples": 500, "ridge": 1.0}),
        ("guided", "training-telemetry ", {"batch": 64, "seed": 0}),
    ],
)
def test_what_computed_it_and_every_setting_are_told(
    subject: explain.Subject, method: str, library: str, params: dict[str, object]
) -> None:
    found = attribute(subject, "0", "wrong", method=method, check=False)
    assert params.items() <= found.params.items()
    (row,) = FORMAT.rows(found, {})
    assert str(row["library"]).startswith(library)
    assert json.loads(str(row["params"])) == found.params


def test_values_of_all_sets_are_own_code(subject: explain.Subject) -> None:
    settings = {"method": "kernelshap", "segments": "grid:2x2", "check": False}
    found = attribute(subject, "0", "wrong", **settings)  # type: ignore[arg-type]
    assert found.params["sets"] == 16
    assert found.found.libraries == ()


def test_the_checks_pass_where_the_model_has_reasons(subject: explain.Subject) -> None:
    found = attribute(subject, "0", "wrong", method="ig", baseline="zero")
    checks = {check.name: check for check in found.checks}
    assert set(checks) == {
        *("determinism", "not_empty", "completeness", "deletion", "insertion"),
        "agreement",
    }
    assert found.ok
    (row,) = FORMAT.rows(found, {})
    assert json.loads(str(row["method_check"]))["name"] == "randomisation"
    again = attribute(subject, "0", "wrong", method="ig", baseline="zero")
    assert again.id == found.id
    assert torch.equal(again.values, found.values)


def test_a_score_without_gradient_is_told() -> None:
    class Rounded(Detector):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.round(x))

    subject = explain.load(Rounded(), dataset=Marked())
    found = attribute(subject, "0", "wrong", baseline="zero", check=False)
    failed = {check.name for check in found.checks if not check.ok}
    assert "not_empty" in failed
    assert not found.ok


def test_a_steep_score_is_integrated_in_more_steps_or_told() -> None:
    class Steep(Detector):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(200 * (super().forward(x) - 3.0))

    subject = explain.load(Steep(), dataset=Marked())
    found = attribute(subject, "0", "wrong", baseline="zero", check=False)
    completeness = next(check for check in found.checks if check.name == "completeness")
    assert completeness.ok == (completeness.value <= 0.01)
    assert completeness.value <= 0.05  # 50 steps miss nine tenths of it


def test_lime_with_few_samples_does_not_pass() -> None:
    torch.manual_seed(1)
    noisy = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 30), nn.Tanh(), nn.Linear(30, 2))
    with torch.no_grad():
        for parameter in noisy.parameters():
            parameter.mul_(4)
    subject = explain.load(noisy, dataset=Marked())
    found = attribute(subject, "3", "pred", method="lime", baseline="zero", samples=40, check=False)
    assert {check.name for check in found.checks if not check.ok} & {"stability", "local_fit"}


def test_baselines_that_disagree_are_told() -> None:
    class Corner(nn.Module):
        """Bright pixels speak for it at one corner, dark ones at the other."""

        def forward(self, x: Tensor) -> Tensor:
            score = x[:, 0, 0, 0] * 2 - x[:, 0, -1, -1]
            return torch.stack([torch.zeros_like(score), score + 9], dim=1)

    class One:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image = torch.ones(1, SIDE, SIDE)
            image[0, -1, -1] = 0.0
            return image, 1

    found = attribute(explain.load(Corner(), dataset=One()), "0", "pred", check=False)
    assert any("the baseline decides" in warning for warning in found.warnings)


def test_the_right_answer_is_not_asked_about_as_wrong(subject: explain.Subject) -> None:
    with pytest.raises(UsageError, match="is answered correctly"):
        attribute(subject, "3", "wrong")
    with pytest.raises(UsageError, match="no such class; there are plain, marked"):
        attribute(subject, "3", "striped")
    with pytest.raises(UsageError, match="--method saliency"):
        attribute(subject, "3", "pred", method="saliency")
    with pytest.raises(UsageError, match="--segments grid:99x99"):
        attribute(subject, "3", "pred", segments="grid:99x99")
    with pytest.raises(UsageError, match="--baseline nothing"):
        attribute(subject, "3", "pred", baseline="nothing")


def test_an_attribution_leaves_model_and_random_state_alone(subject: explain.Subject) -> None:
    model = subject.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    attribute(subject, "0", "wrong", method="lime", samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_rank_correlation_is_spearman_s() -> None:
    assert rank_correlation(torch.arange(5.0), torch.arange(5.0) ** 3) == pytest.approx(1.0)
    assert rank_correlation(torch.arange(5.0), -torch.arange(5.0)) == pytest.approx(-1.0)
    assert rank_correlation(torch.arange(5.0), torch.zeros(5)) == 0.0


def test_an_answer_that_is_no_number_is_not_explained() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2] / 0.0

    rows = torch.utils.data.TensorDataset(torch.zeros(3, 4), torch.tensor([0, 1, 0]))
    with pytest.raises(UsageError, match="returns no finite number"):
        attribute(explain.load(Broken(), dataset=rows), "0", "pred")


@pytest.mark.parametrize(("truth", "first", "said"), [(9.0, "b", "below"), (-9.0, "a", "above")])
def test_what_pushes_a_regression_to_its_error_comes_first(
    truth: float, first: str, said: str
) -> None:
    class Table:
        feature_names = ("a", "b", "c")

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[Tensor, float]:
            values = [1.0, 1.0, 1.0] if index == 0 else [0.0, 0.0, float(index)]
            return torch.tensor(values), truth if index == 0 else float(index)

    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -3.0, 0.1]]))
    found = attribute(
        explain.load(model, dataset=Table()), "0", method="occlusion", baseline="zero", check=False
    )
    assert found.top(1)[0].segment == first
    assert found.score_input == pytest.approx(abs(-0.9 - truth))
    distance = 9.9 if truth > 0 else 8.1
    assert sentence(found).startswith(
        f"example {found.example.id} gets -0.9, {distance} {said} the true {truth:.4g}; {first} "
    )


def test_a_compiled_model_is_explained_like_the_one_inside(subject: explain.Subject) -> None:
    plain = attribute(subject, "0", "wrong", method="guided", baseline="zero", check=False)
    compiled = torch.compile(Detector(), backend="eager")
    assert isinstance(compiled, nn.Module)
    found = attribute(
        explain.load(compiled, dataset=Marked()),
        "0",
        method="guided",
        baseline="zero",
        check=False,
    )
    assert found.ok
    assert torch.equal(found.values, plain.values)


def test_progress_reaches_its_end(subject: explain.Subject) -> None:
    told: list[tuple[int, int]] = []
    attribute(subject, "0", method="occlusion", progress=lambda *step: told.append(step))
    assert told[-1][0] == told[-1][1] == len(told)


def test_few_parts_are_enumerated_and_many_are_drawn(subject: explain.Subject) -> None:
    """Twelve parts have 4,096 sets; the samples that somebody asks for are taken as they are."""
    costs = {
        (segments, samples): attribute(
            subject,
            "0",
            method="kernelshap",
            segments=segments,
            samples=samples,
            baseline="zero",
            check=False,
        ).forwards
        for segments, samples in (("grid:2x3", None), ("grid:2x3", 10), ("grid:4x4", 20))
    }
    around = costs["grid:2x3", None] - 2 * 2**6  # the method runs twice
    assert 0 < around < 30
    assert costs["grid:2x3", 10] < 2 * 2**6
    assert costs["grid:4x4", 20] < 2 * 30 + around
