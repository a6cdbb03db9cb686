import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from telemetry.format import histograms

Window = tuple[int, npt.NDArray[np.int64]]

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = numpy_strategies.arrays(np.float32, st.integers(1, 200), elements=finite)
normal = numpy_strategies.arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
)
counts = numpy_strategies.arrays(np.int64, histograms.N_BINS, elements=st.integers(0, 2**31))
windows = st.tuples(st.integers(-126, 127), counts)


def window_of(values: npt.NDArray[np.float32]) -> Window:
    exponents, folded = histograms.fold(histograms.fields_of(values)[None])
    return int(exponents[0]), folded[0]


def has_mass(values: npt.NDArray[np.float32]) -> bool:
    return bool((values != 0).any())


def same(left: Window, right: Window) -> bool:
    return left[0] == right[0] and np.array_equal(left[1], right[1])


# --- codes ----------------------------------------------------------------------------------------


@given(codes=numpy_strategies.arrays(np.uint8, 64))
@settings(deadline=None)
def test_encoding_what_was_decoded_gives_the_same_counts(codes: npt.NDArray[np.uint8]) -> None:
    decoded = histograms.decode_counts(codes)
    again = histograms.decode_counts(histograms.encode_counts(decoded))
    assert np.array_equal(again, decoded)


def test_every_code_that_a_count_has_survives_decoding() -> None:
    # Below 14 several codes decode to the same count; encoding never makes the others.
    made = np.unique(histograms.encode_counts(np.arange(100_000)))
    again = histograms.encode_counts(histograms.decode_counts(made))
    assert np.array_equal(again, made)


def test_counts_up_to_13_are_exact_and_larger_ones_within_the_documented_error() -> None:
    values = np.arange(1_000_000)
    decoded = histograms.decode_counts(histograms.encode_counts(values))
    assert np.array_equal(decoded[:14], values[:14])
    error = np.abs(decoded - values) / np.maximum(values, 1)
    assert error.max() <= 0.0715
    assert error[100:].max() <= 0.045


def test_the_largest_code_holds_every_larger_count() -> None:
    assert histograms.encode_counts(np.array([2**40])).tolist() == [histograms.MAX_CODE]


# --- folding --------------------------------------------------------------------------------------


@given(values=normal.filter(has_mass))
@settings(deadline=None)
def test_each_value_is_counted_in_the_bin_whose_edges_hold_it(
    values: npt.NDArray[np.float32],
) -> None:
    exponent, folded = window_of(values)
    low, high = histograms.bin_edges(exponent)
    wide = values.astype(np.float64)
    for i, count in enumerate(folded):
        is_negative = i <= histograms.N_OCTAVES
        # Octaves hold their edge that is nearer to zero, underflow neither of its edges.
        inside = (wide > low[i]) & (wide <= high[i]) if is_negative else wide >= low[i]
        inside &= (wide < 0) if is_negative else (wide < high[i]) & (wide > 0)
        assert count == inside.sum()
    assert folded.sum() == (values != 0).sum()


def test_zeros_and_non_finite_values_are_not_counted() -> None:
    values = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 3.0], dtype=np.float32)
    exponent, folded = window_of(values)
    assert (exponent, folded.sum(), folded[63]) == (1, 1, 1)


def test_a_tensor_of_subnormals_lies_in_the_underflow_bins() -> None:
    exponent, folded = window_of(np.array([1e-40, -1e-40, -1e-44], dtype=np.float32))
    assert exponent == -126
    assert (folded[31], folded[32], folded.sum()) == (2, 1, 3)


# --- merging --------------------------------------------------------------------------------------


@given(left=arrays.filter(has_mass), right=arrays.filter(has_mass))
@settings(deadline=None)
def test_the_merge_is_the_histogram_of_the_concatenation(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> None:
    merged = histograms.merge([window_of(left), window_of(right)])
    assert same(merged, window_of(np.concatenate([left, right])))


@given(left=windows, right=windows)
@settings(deadline=None)
def test_the_merge_is_commutative(left: Window, right: Window) -> None:
    assert same(histograms.merge([left, right]), histograms.merge([right, left]))


@given(first=windows, second=windows, third=windows)
@settings(deadline=None)
def test_the_merge_is_associative(first: Window, second: Window, third: Window) -> None:
    together = histograms.merge([first, second, third])
    assert same(together, histograms.merge([histograms.merge([first, second]), third]))
    assert same(together, histograms.merge([first, histograms.merge([second, third])]))


@given(window=windows, octaves=st.integers(0, 300))
@settings(deadline=None)
def test_a_shifted_window_keeps_the_mass_of_each_sign(window: Window, octaves: int) -> None:
    shifted = histograms.shift(window[1], octaves)
    assert shifted[:32].sum() == window[1][:32].sum()
    assert shifted[32:].sum() == window[1][32:].sum()


# --- quantiles ------------------------------------------------------------------------------------

PROBABILITIES = np.array([0.01, 0.25, 0.5, 0.75, 0.99])


def quantiles_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    exponent, folded = window_of(values)
    decoded = histograms.decode_counts(histograms.encode_counts(folded))
    return histograms.quantiles(
        exponent,
        decoded,
        n_zero=int((values == 0).sum()),
        bounds=(float(values.min()), float(values.max())),
        probabilities=PROBABILITIES,
    )


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e20])
def test_quantiles_of_a_gaussian_are_close(scale: float) -> None:
    values = (np.random.default_rng(0).standard_normal(200_000) * scale).astype(np.float32)
    error = np.abs(quantiles_of(values) - np.quantile(values, PROBABILITIES)) / scale
    assert error[1:4].max() < 0.04
    assert error.max() < 0.9  # the tails lie in one octave each


@given(
    values=numpy_strategies.arrays(
        np.float32, st.integers(50, 400), elements=st.floats(-1e6, 1e6, width=32)
    ).filter(has_mass)
)
@settings(deadline=None)
def test_quantiles_lie_within_a_factor_of_two_and_never_outside_the_bounds(
    values: npt.NDArray[np.float32],
) -> None:
    exponent, folded = window_of(values)
    found = histograms.quantiles(
        exponent,
        folded,
        n_zero=int((values == 0).sum()),
        bounds=(float(values.min()), float(values.max())),
        probabilities=PROBABILITIES,
    )
    assert (np.diff(found) >= 0).all()
    assert found.min() >= values.min()
    assert found.max() <= values.max()
    floor = max(2.0 ** (exponent - 30), 2.0**-126)
    exact = np.quantile(values.astype(np.float64), PROBABILITIES, method="inverted_cdf")
    for quantile, truth in zip(found, exact, strict=True):
        if abs(truth) >= floor:
            assert quantile * truth > 0
            assert 0.499 <= quantile / truth <= 2.001
        else:
            assert abs(quantile) <= floor


def test_subnormals_lie_between_zero_and_the_smallest_normal_number() -> None:
    """They are in no octave, so the bin below the octaves has all of them."""
    values = np.linspace(0, 2.0**-126, 1001, dtype=np.float32)[:-1]
    exact = np.quantile(values.astype(np.float64), PROBABILITIES)
    assert np.allclose(quantiles_of(values), exact, rtol=0.1, atol=0)


def test_quantiles_of_mostly_zeros_are_zero() -> None:
    values = np.concatenate([np.zeros(900), np.ones(100)]).astype(np.float32)
    assert quantiles_of(values)[:4].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_quantiles_of_nothing_are_unknown() -> None:
    nothing = np.zeros(64, dtype=np.int64)
    found = histograms.quantiles(
        0, nothing, n_zero=0, bounds=(0.0, 0.0), probabilities=np.array([0.5])
    )
    assert math.isnan(found[0])
