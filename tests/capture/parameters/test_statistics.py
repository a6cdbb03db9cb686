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
from observed_parameters import (
    check_histogram,
    check_moments,
    close,
    observe,
    random,
    sampled_values,
    take_device_route,
)
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters import statistics
from telemetry.capture.parameters.statistic import ParameterStatistic, parameter_statistics
from telemetry.format import histograms
from telemetry.format.tables import table

FloatArray = npt.NDArray[np.float64]
SHAPES = [(), (10,), (1024,), (3, 700), (300, 300), (8, 32, 17, 17)]


@pytest.fixture(params=["host", "device"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "device":
        take_device_route(monkeypatch)
    return str(request.param)


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
        assert got["sumsq"] is None
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
    row, weight_row, _ = observe(random((9,)), [random((9,), 1)], with_histograms=False)
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
