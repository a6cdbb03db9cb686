"""Every statistic against a slow reference over the sampled elements, on both routes.

The route of accelerators, which asks no device, runs here on the CPU as well.
"""

import importlib
import math
import pkgutil

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from observed_parameters import Observed, Row, one_parameter, sampled_values
from torch import Tensor

from telemetry import histograms
from telemetry.capture import statistics
from telemetry.capture.statistic import Kind, ParameterStatistic, parameter_statistics
from telemetry.tables import table

FloatArray = npt.NDArray[np.float64]
SHAPES = [(), (10,), (1024,), (3, 700), (300, 300), (8, 32, 17, 17)]


@pytest.fixture(params=["host", "device"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "device":
        modules = [
            f"{statistics.__name__}.{m.name}" for m in pkgutil.iter_modules(statistics.__path__)
        ]
        for name in ["telemetry.capture.statistic", *modules]:
            if hasattr(importlib.import_module(name), "on_host"):
                monkeypatch.setattr(f"{name}.on_host", lambda values: values is None)
    return str(request.param)


def random(shape: tuple[int, ...], seed: int = 0, *, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def observe(
    weight: Tensor,
    gradients: list[Tensor | None],
    *,
    updates: list[Tensor] | None = None,
    histograms: bool = True,
) -> tuple[Row, Row, Row]:
    """Gradient, weight and update row of the last of some steps of one parameter."""
    model, parameter = one_parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    observed = Observed(model, optimizer, histograms=histograms)
    rows = {}
    for i, gradient in enumerate(gradients):
        parameter.grad = gradient

        def move(i: int = i) -> None:
            if updates is None:
                optimizer.step()
            else:
                parameter.data.add_(updates[i])

        rows = observed.step(between=move)
    return rows["weight", "gradient"], rows["weight", "weight"], rows["weight", "update"]


def close(value: object, expected: float, relative: float = 1e-5) -> bool:
    return math.isclose(float(str(value)), expected, rel_tol=relative, abs_tol=1e-30)


def check_moments(row: Row, values: FloatArray) -> None:
    finite = values[np.isfinite(values)]
    assert row["n_sampled"] == len(values)
    assert row["n_zero"] == (finite == 0).sum()
    if not len(finite):
        assert all(row[name] is None for name in ("sum", "min", "max", "absmax"))
        return
    assert abs(float(str(row["sum"])) - finite.sum()) <= 1e-5 * np.abs(finite).sum()
    assert close(row["min"], finite.min())
    assert close(row["max"], finite.max())
    assert close(row["absmax"], np.abs(finite).max())


def check_histogram(row: Row, values: FloatArray) -> None:
    fields = histograms.fields_of(values.astype(np.float32))[None]
    if not fields.any():
        assert (row["hist_exp"], row["hist"]) == (None, None)
        return
    exponent, counts = histograms.fold(fields)
    assert row["hist_exp"] == exponent[0]
    assert row["hist"] == histograms.encode_counts(counts)[0].tobytes()


# --- discovery ------------------------------------------------------------------------------------


def test_the_id_of_a_statistic_is_the_name_of_its_file() -> None:
    for module in pkgutil.iter_modules(statistics.__path__):
        loaded = importlib.import_module(f"{statistics.__name__}.{module.name}")
        statistic = getattr(loaded, "STATISTIC", None)
        if isinstance(statistic, ParameterStatistic):
            assert statistic.id == module.name
            assert statistic in parameter_statistics()


def test_each_column_of_a_kind_is_filled_by_one_statistic_and_is_in_the_schema() -> None:
    known = {column.name for column in table("tensor_stats").columns}
    for kind in Kind:
        columns = [c for s in parameter_statistics() if kind in s.kinds for c in s.columns]
        assert len(columns) == len(set(columns))
        assert set(columns) <= known


# --- gradients and weights ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.usefixtures("route")
def test_moments_norm_and_histogram_equal_the_reference(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    weight, gradient = random(shape, 1).to(dtype), random(shape, 2, scale=1e-3).to(dtype)
    if gradient.numel() > 4:
        gradient.view(-1)[::3] = 0
    row, weight_row, _ = observe(weight, [gradient])
    for got, tensor in ((row, gradient), (weight_row, weight)):
        check_moments(got, sampled_values(tensor))
        check_histogram(got, sampled_values(tensor))
        assert got["n"] == tensor.numel()
        assert (got["n_nan"], got["n_inf"]) == (0, 0)
        assert close(got["sumsq"], tensor.double().square().sum().item())


def test_the_norm_covers_elements_outside_the_sample(route: str) -> None:
    gradient = torch.zeros(400_000)
    outside = np.setdiff1d(np.arange(400_000), sampled_values(torch.arange(400_000.0)))
    gradient[int(outside[0])] = 3.0
    row, _, _ = observe(torch.zeros(400_000), [gradient])
    assert row["n_sampled"] == 65_536
    assert (row["sumsq"], row["absmax"], row["n_zero"]) == (9.0, 0.0, 65_536)
    gradient[int(outside[1])] = math.nan
    gradient[int(outside[2])] = -math.inf
    row, _, _ = observe(torch.zeros(400_000), [gradient])
    if route == "host":
        assert (row["n_nan"], row["n_inf"], row["sumsq"]) == (1, 1, 9.0)
    else:  # a lower bound where the device is not asked
        assert (row["n_nan"], row["n_inf"], row["sumsq"]) == (1, 0, None)


@pytest.mark.usefixtures("route")
def test_non_finite_elements_are_counted_and_kept_out_of_everything_else() -> None:
    gradient = random((40, 50), 3)
    gradient[0, :7] = math.nan
    gradient[1, :5] = math.inf
    gradient[2, :4] = -math.inf
    row, _, _ = observe(random((40, 50), 4), [gradient], updates=[torch.zeros(40, 50)])
    assert (row["n_nan"], row["n_inf"]) == (7, 9)
    values = sampled_values(gradient)
    check_moments(row, values)
    check_histogram(row, values)


@pytest.mark.usefixtures("route")
def test_a_tensor_without_a_finite_element_has_no_moments() -> None:
    row, weight_row, update = observe(torch.full((5,), math.nan), [torch.full((5,), math.inf)])
    assert (row["n_inf"], weight_row["n_nan"], update["n_nan"]) == (5, 5, 5)
    for got in (row, weight_row, update):
        assert got["sum"] is got["min"] is got["max"] is got["absmax"] is got["hist"] is None
        assert got["n_zero"] == 0


def test_the_host_keeps_the_norm_of_what_is_finite() -> None:
    gradient = torch.tensor([3.0, math.nan, 4.0])
    row, _, _ = observe(torch.zeros(3), [gradient], updates=[torch.zeros(3)])
    assert row["sumsq"] == 25.0


@pytest.mark.parametrize("magnitude", [1e-30, 1e-25, 1e-20, 1e20, 1e30])
@pytest.mark.usefixtures("route")
def test_norms_survive_where_squares_are_no_float32(magnitude: float) -> None:
    values = random((30, 40), 5) * magnitude
    row, _, update = observe(torch.zeros(30, 40), [values], updates=[values])
    expected = values.double().square().sum().item()
    assert math.isclose(float(str(row["sumsq"])), expected, rel_tol=1e-5)
    assert math.isclose(float(str(update["sumsq"])), expected, rel_tol=1e-5)
    check_histogram(row, sampled_values(values))


@pytest.mark.usefixtures("route")
def test_negative_zeros_are_zeros_and_subnormals_are_underflow() -> None:
    signed = torch.tensor([-0.0, 0.0, 1.0, -2.0])
    row, _, _ = observe(torch.zeros(4), [signed])
    assert row["n_zero"] == 2
    check_histogram(row, signed.double().numpy())
    small = torch.tensor([1e-40, -1e-40, -1e-42, 0.0, 1.0])
    row, _, _ = observe(torch.zeros(5), [small])
    assert row["n_zero"] == 1
    check_histogram(row, small.numpy().astype(np.float64))


def test_histograms_can_be_left_out() -> None:
    row, weight_row, _ = observe(random((9,)), [random((9,), 1)], histograms=False)
    assert row["hist"] is row["hist_exp"] is weight_row["hist"] is None
    assert row["absmax"] is not None


@given(seed=st.integers(0, 1000), shape=st.sampled_from(SHAPES))
@settings(deadline=None, max_examples=15)
def test_histogram_counts_sum_to_what_was_read_less_zeros(
    seed: int, shape: tuple[int, ...]
) -> None:
    gradient = random(shape, seed).clamp(min=0)
    row, _, _ = observe(torch.zeros(shape), [gradient])
    values = sampled_values(gradient)
    total = len(values) - int((values == 0).sum())
    blob = row["hist"]
    decoded = 0 if blob is None else histograms.decode_counts(np.frombuffer(blob, np.uint8)).sum()  # type: ignore[call-overload]
    assert abs(decoded - total) <= 0.08 * total


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


# --- symmetry -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "equal"),
    [
        (torch.full((8, 5), 0.05), True),
        (torch.full((500, 300), 0.05), True),
        (random((8, 5)), False),
        (torch.arange(6.0).reshape(2, 3), False),
        (torch.full((4, 3, 2, 2), 1.0), True),
        (torch.ones(7), None),
        (torch.ones(1, 7), None),
    ],
)
def test_equal_rows_of_matrices_are_told_on_the_first_steps(
    weight: Tensor, *, equal: bool | None
) -> None:
    gradient = random(tuple(weight.shape), 1)
    for n_steps, expected in ((1, equal), (4, None)):
        updates = [torch.zeros_like(weight)] * n_steps
        _, row, _ = observe(weight, [gradient] * n_steps, updates=updates)
        assert row["rows_equal"] is expected
