import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.cli.output import numbers

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.8712, "2.871"),
        (0.5, "0.5000"),
        (99999.4, "99999"),
        (123456.0, "1.235e5"),
        (0.00099, "9.900e-4"),
        (-0.0214, "-0.02140"),
        (9.99996, "10.00"),
        (0.0, "0"),
        (-0.0, "0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (None, "-"),
    ],
)
def test_a_measured_value_has_four_significant_digits(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


@UNHURRIED
@given(st.floats(-1.797e308, 1.797e308))
def test_a_written_number_is_within_half_a_unit_of_its_fourth_digit(value: float) -> None:
    written = float(numbers.number(value))
    assert written == pytest.approx(value, rel=5.01e-4, abs=1e-320)
    assert len(numbers.number(value)) <= 11


@pytest.mark.parametrize(
    ("value", "text"), [(0.41, "4.1e-1"), (9.9, "9.9e+0"), (math.nan, "nan"), (None, "-")]
)
def test_a_dense_value_has_two_digits_and_an_exponent(value: float | None, text: str) -> None:
    assert numbers.compact(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (3e-4, "0.0003"), (True, "true"), (None, "-"), ("relu", "relu"), (64, "64")],
)
def test_a_configured_value_is_written_as_the_user_wrote_it(value: object, text: str) -> None:
    assert numbers.literal(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (4e-7, "<1us"),
        (3.5e-5, "35us"),
        (0.2124, "212ms"),
        (0.9999, "1s"),
        (12.34, "12.3s"),
        (59.97, "1m00s"),
        (192, "3m12s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (90000, "1d01h"),
        (math.nan, "-"),
        (None, "-"),
    ],
)
def test_a_duration_has_two_units(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59, "59s"), (14 * 60, "14m"), (7300, "2h"), (47 * 3600, "47h"), (3e5, "3d")],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert numbers.age(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(812, "812 B"), (2900, "2.9 kB"), (41.2e6, "41 MB"), (1.23e9, "1.2 GB"), (3e12, "3.0 TB")],
)
def test_a_size_has_a_decimal_unit(n_bytes: float, text: str) -> None:
    assert numbers.size(n_bytes) == text


@pytest.mark.parametrize(
    ("value", "text"), [(312, "312"), (9999, "9 999"), (85210, "85.2 k"), (6.9e6, "6.9 M")]
)
def test_a_large_count_is_rounded_to_what_a_person_compares(value: float, text: str) -> None:
    assert numbers.large_count(int(value)) == text


def test_shares_and_changes_are_percentages() -> None:
    assert [numbers.percent(share) for share in (0, 0.006, 0.61, 1, None)] == [
        "0 %",
        "0.6 %",
        "61 %",
        "100 %",
        "-",
    ]
    assert [numbers.change(share) for share in (0.031, -0.007, math.inf, None)] == [
        "+3.1 %",
        "-0.7 %",
        "+inf",
        "-",
    ]


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (780, 1204, "780-1 204"),
        (5, 5, "5"),
        (5, None, "5"),
        (None, 9, "up to 9"),
        (None, None, "-"),
    ],
)
def test_a_range_of_steps_is_one_word(first: int | None, last: int | None, text: str) -> None:
    assert numbers.steps(first, last) == text
