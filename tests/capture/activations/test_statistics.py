"""Moments, dead and saturated units of outputs, against slow references."""

import math
from collections.abc import Callable

import pytest
import torch
from observed import (
    constant_linear,
    dead_units,
    observed_step,
    site,
)
from torch import Tensor, nn
from torch.nn import functional

from telemetry.capture.activations.observer import ModuleObserver
from telemetry.capture.activations.statistics import Family, measure
from telemetry.capture.parameters.statistics.dead_bitmap import WINDOW_POSITIONS, WINDOW_SAMPLES
from telemetry.capture.tensors.host import is_known_finite


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- moments and counts ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_of_an_output_are_exact_over_all_elements(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(5, 7)).to(dtype)
    inputs = normal(33, 5).to(dtype)
    row = site(observed_step(model, lambda: model(inputs).sum()), "0")
    with torch.no_grad():
        expected = model(inputs).double()
    assert (row["n"], row["n_units"]) == (33 * 7, 7)
    assert row["sum"] == pytest.approx(expected.sum().item(), rel=1e-3, abs=1e-3)
    assert row["sumsq"] == pytest.approx(expected.square().sum().item(), rel=1e-5)
    assert row["min"] == pytest.approx(expected.min().item(), rel=1e-6)
    assert row["max"] == pytest.approx(expected.max().item(), rel=1e-6)
    assert row["absmax"] == pytest.approx(expected.abs().max().item(), rel=1e-6)
    assert (row["n_nan"], row["n_inf"]) == (0, 0)
    assert row["dtype"] == str(dtype).removeprefix("torch.")


class Break(nn.Module):
    """Puts given values at the beginning of the first rows."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = values

    def forward(self, inputs: Tensor) -> Tensor:
        result = inputs.clone()
        for row, value in enumerate(self.values):
            result[row, 0] = value
        return result


def test_the_first_broken_module_can_be_told_from_the_rows() -> None:
    model = nn.Sequential(nn.Linear(3, 4), Break(math.nan, math.inf, -math.inf), nn.Linear(4, 2))
    inputs = normal(6, 3)
    rows = observed_step(model, lambda: model(inputs).sum())
    broken = site(rows, "1")
    with torch.no_grad():
        kept = model[1](model[0](inputs))
        kept = kept[kept.isfinite()]
    assert (broken["n_nan"], broken["n_inf"]) == (1, 2)
    assert broken["sum"] == pytest.approx(kept.sum().item(), rel=1e-5)
    assert broken["sumsq"] == pytest.approx(kept.square().sum().item(), rel=1e-5)
    assert (broken["min"], broken["max"]) == pytest.approx((kept.min().item(), kept.max().item()))
    first = [path for path in ("0", "1", "2") if site(rows, path)["n_nan"]]
    assert first == ["1", "2"]
    assert site(rows, "", "input")["n_nan"] == 0


def test_a_tensor_without_a_finite_element_has_counts_alone() -> None:
    model = nn.Sequential(nn.Linear(1, 1), Break(math.nan, math.nan))
    row = site(observed_step(model, lambda: model(torch.ones(2, 1)).sum()), "1")
    assert (row["n"], row["n_nan"]) == (2, 2)
    assert [row[name] for name in ("sum", "sumsq", "min", "max", "absmax")] == [None] * 5


def test_a_non_finite_output_gradient_is_counted() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    rows = observed_step(model, lambda: model(torch.ones(3, 2)) * math.nan)
    assert site(rows, "1", "output_grad")["n_nan"] == 6
    assert site(rows, "1", "output_grad")["sumsq"] is None


# --- dead and saturated units ---------------------------------------------------------------------


def test_a_bias_of_minus_ten_kills_every_unit() -> None:
    model = nn.Sequential(constant_linear(4, 9, weight=0.1, bias=-10.0), nn.ReLU())
    row = site(observed_step(model, lambda: model(normal(8, 4)).sum()), "1")
    assert (row["n_dead"], row["n_units"], row["n_zero"]) == (9, 9, 72)
    assert dead_units(row) == list(range(9))


def test_eight_samples_complete_a_window() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    observer = ModuleObserver(model)
    seen = []
    for step in range(WINDOW_SAMPLES + 1):
        inputs = normal(64, 4, seed=step)
        rows = observed_step(model, lambda x=inputs: model(x).sum(), observer=observer, step=step)
        seen.append(site(rows, "1")["window_samples"])
    assert seen[WINDOW_SAMPLES - 1] == 64 * WINDOW_SAMPLES == WINDOW_POSITIONS
    assert seen[WINDOW_SAMPLES] == 64


def test_a_unit_that_fires_in_another_micro_batch_is_alive() -> None:
    model = nn.Sequential(constant_linear(1, 1, weight=1.0, bias=0.0), nn.ReLU())
    rows = observed_step(
        model, lambda: model(torch.tensor([[-1.0]])) + model(torch.tensor([[1.0]]))
    )
    assert site(rows, "1")["n_dead"] == 0


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Softplus()])
def test_smooth_activations_die_when_negligible_against_their_layer(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 6), activation)
    with torch.no_grad():
        model[0].bias[3] = -60.0
    row = site(observed_step(model, lambda: model(normal(32, 4)).sum()), "1")
    assert dead_units(row) == [3]


def test_a_leaky_unit_on_its_negative_side_is_not_dead() -> None:
    model = nn.Sequential(constant_linear(4, 3, weight=0.1, bias=-1.0), nn.LeakyReLU(0.1))
    assert site(observed_step(model, lambda: model(normal(8, 4)).sum()), "1")["n_dead"] == 0


@pytest.mark.parametrize("module", [nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4), nn.Softmax(-1)])
def test_death_has_no_meaning_elsewhere(module: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 4), module)
    row = site(observed_step(model, lambda: model(normal(8, 4)).sum()), "1")
    assert (row["n_dead"], row["dead"], row["window_samples"]) == (None, None, None)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [(nn.Tanh(), lambda a: 1 - a**2), (nn.Sigmoid(), lambda a: 4 * a * (1 - a))],
)
@pytest.mark.parametrize("gain", [0.5, 4.0, 40.0])
def test_saturation_follows_the_derivative(
    activation: nn.Module, slope: Callable[[Tensor], Tensor], gain: float
) -> None:
    model = nn.Sequential(nn.Linear(6, 20), activation)
    with torch.no_grad():
        model[0].weight.mul_(gain)
    inputs = normal(50, 6)
    row = site(observed_step(model, lambda: model(inputs).sum()), "1")
    with torch.no_grad():
        slopes = slope(model(inputs).double())
    assert row["n_saturated"] == int((slopes.mean(0) < 0.05).sum())
    assert row["n_saturated_entries"] == int((slopes < 0.06).sum())


def test_large_inputs_saturate_every_unit() -> None:
    model = nn.Sequential(constant_linear(4, 5, weight=1.0, bias=100.0), nn.Sigmoid())
    row = site(observed_step(model, lambda: model(normal(8, 4)).sum()), "1")
    assert (row["n_saturated"], row["n_saturated_entries"]) == (5, 40)


# --- units ----------------------------------------------------------------------------------------


class Swapped(nn.Module):
    """Tokens as (batch, height, width, features), as in a Swin or ConvNeXt block."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 10)
        self.act = nn.GELU()

    def forward(self, images: Tensor) -> Tensor:
        return self.act(self.linear(images.permute(0, 2, 3, 1)))


@pytest.mark.parametrize(
    ("model", "shape", "path", "n_units"),
    [
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), (2, 3, 8, 8), "1", 6),
        (nn.Sequential(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), (2, 3, 8), "2", 6),
        (nn.Sequential(nn.Conv3d(3, 6, 2), nn.ReLU()), (2, 3, 4, 4, 4), "1", 6),
        (nn.Sequential(nn.Linear(3, 6), nn.ReLU()), (2, 5, 3), "1", 6),
        (nn.Sequential(nn.Linear(3, 6), nn.ReLU()), (3,), "1", 6),
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), (3, 8, 8), "1", 6),
        (Swapped(), (2, 3, 4, 4), "act", 10),
    ],
)
def test_units_are_channels_or_features(
    model: nn.Module, shape: tuple[int, ...], path: str, n_units: int
) -> None:
    row = site(observed_step(model, lambda: model(normal(*shape)).sum()), path)
    assert row["n_units"] == n_units


def test_a_dead_channel_is_found_among_images() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[4] = -50.0
    rows = observed_step(model, lambda: model(normal(2, 3, 8, 8)).sum())
    assert dead_units(site(rows, "1")) == [4]


# --- other devices and types ---


@pytest.fixture
def silent_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors whose values the host may not ask for, as those of an accelerator."""
    for module in ("activations.statistics", "activations.loss_inputs"):
        monkeypatch.setattr(f"telemetry.capture.{module}.is_known_finite", lambda _: False)


@pytest.mark.usefixtures("silent_device")
@pytest.mark.parametrize("kind", [nn.ReLU, nn.GELU, nn.Tanh])
def test_a_device_that_cannot_be_asked_gives_the_same_rows(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 6), kind(), nn.Linear(6, 3))
    inputs, targets = normal(20, 4), torch.arange(20) % 3

    def loss() -> Tensor:
        return functional.cross_entropy(model(inputs), targets)

    silent = observed_step(model, loss)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("activations.statistics", "activations.loss_inputs"):
            patch.setattr(f"telemetry.capture.{module}.is_known_finite", is_known_finite)
        asked = observed_step(model, loss)
    assert silent.keys() == asked.keys()
    for key, row in silent.items():
        for name, value in row.items():
            other = asked[key][name]
            near = pytest.approx(other, rel=1e-6, abs=1e-6) if isinstance(other, float) else other
            assert value == near, (key, name)


@pytest.mark.usefixtures("silent_device")
def test_a_device_that_cannot_be_asked_counts_what_is_not_finite() -> None:
    model = nn.Sequential(nn.Linear(3, 4), Break(math.nan, math.inf))
    rows = observed_step(model, lambda: model(normal(6, 3)))
    assert (site(rows, "1")["n_nan"], site(rows, "1")["n_inf"]) == (1, 1)


def test_float16_outputs_and_sparse_gradients_do_not_stop_anything() -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2))
    rows = observed_step(model, lambda: model(torch.tensor([1, 2])))
    assert site(rows, "0", "output_grad")["n"] == 6
    half = nn.Sequential(nn.Linear(3, 4)).half()
    rows = observed_step(half, lambda: half(normal(2, 3).half()).float())
    assert site(rows, "0")["dtype"] == "float16"


def test_counts_beyond_float32_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.capture.activations.statistics.FLOAT32_EXACT", 10)
    measures = measure(torch.relu(normal(50, 3)), family=Family.RELU, unit_dim=1)
    assert measures.n_nonzero is not None
    assert measures.n_nonzero.dtype == torch.int64
