"""Updates, weight decay and optimizer state against slow references, on both routes."""

import math

import numpy as np
import pytest
import torch
from observed_parameters import (
    Observed,
    Row,
    check_moments,
    close,
    observe,
    one_parameter,
    random,
    sampled_values,
    take_device_route,
)
from torch import Tensor

SHAPES = [(), (10,), (1024,), (3, 700), (300, 300), (8, 32, 17, 17)]


@pytest.fixture(params=["host", "device"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "device":
        take_device_route(monkeypatch)
    return str(request.param)


# --- cosines and updates --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("route")
def test_updates_and_cosines_equal_the_reference(shape: tuple[int, ...]) -> None:
    gradients = [random(shape, 1), random(shape, 2)]
    updates = [random(shape, 3, scale=0.01), random(shape, 4, scale=0.01) - 0.1 * gradients[1]]
    if gradients[0].numel() > 4:
        updates[1].view(-1)[::4] = 0
        gradients[1].view(-1)[::8] = 0
    weight = random(shape, 5)
    row, _, update = observe(weight, [*gradients], updates=updates)
    moved = weight + updates[0]
    u = sampled_values((moved + updates[1]) - moved)
    g = sampled_values(gradients[1])
    check_moments(update, u)
    assert close(update["sumsq"], (u**2).sum())
    assert update["n_stuck"] == ((u == 0) & (g != 0)).sum()
    scale = np.linalg.norm(u) * np.linalg.norm(g)
    assert abs(float(str(update["dot_grad"])) - u @ g) <= 1e-5 * scale
    for got, now, before in (
        (update, u, sampled_values(moved - weight)),
        (row, g, sampled_values(gradients[0])),
    ):
        expected = now @ before / np.linalg.norm(now) / np.linalg.norm(before)
        assert abs(float(str(got["cos_prev"])) - expected) < 1e-5


def test_the_first_sample_has_no_cosine() -> None:
    row, _, update = observe(random((4,)), [random((4,), 1)])
    assert row["cos_prev"] is update["cos_prev"] is None


@pytest.mark.usefixtures("route")
def test_a_sample_of_zeros_has_no_cosine() -> None:
    row, _, update = observe(random((4,)), [torch.zeros(4), random((4,), 1)])
    assert row["cos_prev"] is update["cos_prev"] is None


@pytest.mark.usefixtures("route")
def test_a_negative_zero_gradient_is_not_stuck() -> None:
    gradient = torch.tensor([-0.0, 0.0, 1.0, 1.0])
    update = torch.tensor([0.0, 0.0, 0.0, 1.0])
    _, _, row = observe(torch.ones(4), [gradient], updates=[update])
    assert (row["n_stuck"], row["n_zero"]) == (1, 3)


@pytest.mark.usefixtures("route")
def test_updates_to_nan_are_not_stuck() -> None:
    gradient = torch.ones(6)
    update = torch.tensor([math.nan, math.nan, 0.0, 1.0, 0.0, 1.0])
    _, _, row = observe(torch.ones(6), [gradient], updates=[update])
    assert (row["n_stuck"], row["n_nan"], row["n_zero"]) == (2, 2, 2)


def test_small_updates_of_float64_weights_are_seen() -> None:
    weight = random((100,)).double()
    update = torch.full((100,), 1e-12, dtype=torch.float64)
    _, _, row = observe(weight, [torch.ones(100).double()], updates=[update])
    assert (row["n_zero"], row["n_stuck"]) == (0, 0)
    assert close(row["sum"], 1e-10, 1e-3)


# --- weight decay and optimizer state -------------------------------------------------------------


def optimized(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, model: torch.nn.Module, n: int
) -> dict[tuple[str, str], Row]:
    observed = Observed(model, optimizer)
    rows = {}
    for i in range(n):
        parameter.grad = random(tuple(parameter.shape), 10 + i).to(parameter.dtype)
        rows = observed.step()
    return rows


@pytest.mark.usefixtures("route")
def test_decay_of_sgd_is_held_against_the_gradient() -> None:
    model, weight = one_parameter(random((20, 30)))
    optimizer = torch.optim.SGD([weight], lr=0.1, weight_decay=0.3)
    expected = 0.3 * weight.norm().item() / random((20, 30), 10).norm().item()
    rows = optimized(optimizer, weight, model, 1)
    assert close(rows["weight", "update"]["decay_ratio"], expected)


@pytest.mark.parametrize("lr", [0.01, torch.tensor(0.01)])
@pytest.mark.usefixtures("route")
def test_decoupled_decay_is_held_against_the_rest_of_the_update(lr: float | Tensor) -> None:
    model, weight = one_parameter(random((20, 30)))
    before = weight.detach().clone()
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=0.5)
    rows = optimized(optimizer, weight, model, 1)
    decay = 0.01 * 0.5 * before
    rest = weight.detach() - before + decay
    expected = decay.norm().item() / rest.norm().item()
    assert close(rows["weight", "update"]["decay_ratio"], expected, 1e-3)


def test_no_decay_is_a_ratio_of_zero() -> None:
    model, weight = one_parameter(random((5,)))
    rows = optimized(torch.optim.SGD([weight], lr=0.1), weight, model, 1)
    assert rows["weight", "update"]["decay_ratio"] == 0


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30])
@pytest.mark.parametrize("setting", ["lr", "weight_decay"])
@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.usefixtures("route")
def test_a_setting_that_is_not_finite_is_no_warning(
    optimizer_class: type[torch.optim.Optimizer], setting: str, value: float
) -> None:
    """Warnings are errors here, as in some trainings."""
    model, weight = one_parameter(random((5,)))
    settings = {"lr": 0.1, "weight_decay": 0.3}
    optimizer = optimizer_class([weight], **settings)
    optimizer.param_groups[0][setting] = value
    rows = optimized(optimizer, weight, model, 2)
    assert rows["weight", "update"]["n_sampled"] == 5


class ForeignOptimizer(torch.optim.SGD):
    """An optimizer whose rule nobody told."""


def test_the_decay_of_an_unknown_optimizer_is_not_guessed() -> None:
    model, weight = one_parameter(random((5,)))
    optimizer = ForeignOptimizer([weight], lr=0.1, weight_decay=0.1)
    rows = optimized(optimizer, weight, model, 1)
    assert rows["weight", "update"]["decay_ratio"] is None


@pytest.mark.parametrize("shape", [(), (10,), (300, 300)])
@pytest.mark.usefixtures("route")
def test_the_second_moment_is_bias_corrected_and_held_against_gradient_and_epsilon(
    shape: tuple[int, ...],
) -> None:
    model, weight = one_parameter(random(shape))
    optimizer = torch.optim.Adam([weight], lr=0.01, eps=0.5)
    rows = optimized(optimizer, weight, model, 3)
    row = rows["weight", "optimizer_state"]
    corrected = optimizer.state[weight]["exp_avg_sq"] / (1 - 0.999**3)
    v, g = sampled_values(corrected), sampled_values(random(shape, 12))
    check_moments(row, v)
    assert close(row["sumsq"], (v**2).sum())
    assert row["n_below_eps"] == ((v > 0) & (np.sqrt(v) < 0.5)).sum()
    assert close(row["rms_ratio"], math.sqrt((g**2 / np.maximum(v, 0.25)).mean()), 1e-4)


@pytest.mark.usefixtures("route")
def test_negative_and_non_finite_second_moments_show() -> None:
    model, weight = one_parameter(random((6,)))
    optimizer = torch.optim.Adam([weight], lr=0.01)
    optimized(optimizer, weight, model, 1)
    optimizer.state[weight]["exp_avg_sq"][:2] = torch.tensor([-1.0, math.nan])
    row = optimized(optimizer, weight, model, 1)["weight", "optimizer_state"]
    assert float(str(row["min"])) < 0
    assert row["n_nan"] == 1
    assert row["n_below_eps"] == 0


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize(("lr", "low", "high"), [(1e-5, 0.9, 1.01), (0.1, -0.05, 0.05)])
@pytest.mark.usefixtures("route")
def test_mass_that_rounding_loses_is_measured_on_bfloat16_weights(
    kind: type[torch.optim.Adam], lr: float, low: float, high: float
) -> None:
    model, weight = one_parameter(random((64, 64)).bfloat16())
    rows = optimized(kind([weight], lr=lr, weight_decay=0.01), weight, model, 4)
    assert low <= float(str(rows["weight", "update"]["lost_mass"])) <= high


def test_float32_weights_have_no_lost_mass() -> None:
    model, weight = one_parameter(random((8, 8)))
    rows = optimized(torch.optim.Adam([weight], lr=1e-3), weight, model, 1)
    assert rows["weight", "update"]["lost_mass"] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("momentum", [0.0, 0.5, None])
@pytest.mark.usefixtures("route")
def test_updates_below_half_of_the_last_place_are_lost(
    dtype: torch.dtype, momentum: float | None
) -> None:
    """Beside 1, numbers above are 2 x 2^-8 (bfloat16) or 2 x 2^-11 (float16) apart."""
    half = 2.0 ** (-8 if dtype is torch.bfloat16 else -11)
    model, weight = one_parameter(torch.ones(4, dtype=dtype))
    optimizer: torch.optim.Optimizer
    if momentum is not None:
        optimizer = torch.optim.SGD([weight], lr=1.0, momentum=momentum)
        # Two are lost, two are kept: 2 x (2 half)^2 of 2 x (half / 2)^2 + 2 x (2 half)^2.
        weight.grad = torch.tensor([-half / 2, -2 * half, -half / 2, -2 * half], dtype=dtype)
        expected = 1 - 8 / 8.5
    else:
        optimizer = torch.optim.Adam([weight], lr=half / 2)
        weight.grad = torch.full((4,), -1.0, dtype=dtype)  # the first step is the rate
        expected = 1.0
    rows = Observed(model, optimizer).step()
    assert float(str(rows["weight", "update"]["lost_mass"])) == pytest.approx(expected, abs=1e-3)


@pytest.mark.usefixtures("route")
def test_the_intended_update_of_sgd_has_decay_and_momentum_in_it() -> None:
    model, weight = one_parameter(torch.full((3,), 4.0, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.5, weight_decay=0.25)
    weight.grad = torch.ones(3, dtype=torch.bfloat16)
    observed = Observed(model, optimizer)
    # Momentum 1 + 0.25 x 4 = 2, then 0.5 x 2 + 1 + 0.25 x 3 = 2.75: all representable.
    assert observed.step()["weight", "update"]["lost_mass"] == pytest.approx(0, abs=1e-6)
    row = observed.step()["weight", "update"]
    assert (row["sum"], row["lost_mass"]) == (-1.375 * 3, pytest.approx(0, abs=1e-6))
    plain, weight = one_parameter(torch.full((3,), 4.0, dtype=torch.bfloat16))
    weight.grad = torch.ones(3, dtype=torch.bfloat16)
    row = Observed(plain, torch.optim.SGD([weight], lr=0.5, weight_decay=0.25)).step()[
        "weight", "update"
    ]
    assert (row["sum"], row["lost_mass"]) == (-3.0, pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize("options", [{"nesterov": True, "momentum": 0.5}, {"maximize": True}])
def test_the_lost_mass_of_other_rules_is_not_guessed(options: dict[str, object]) -> None:
    model, weight = one_parameter(torch.ones(4, dtype=torch.bfloat16))
    weight.grad = torch.ones(4, dtype=torch.bfloat16)
    rows = Observed(model, torch.optim.SGD([weight], lr=0.1, **options)).step()  # type: ignore[arg-type]
    assert rows["weight", "update"]["lost_mass"] is None
