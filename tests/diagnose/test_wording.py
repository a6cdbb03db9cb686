"""How findings say numbers."""

import math

import pytest

from telemetry.diagnose.wording import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "0.0123"),
        (999.6, "1 000"),
        (-12_345, "-12 300"),
        (1.28e7, "1.28e+07"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_thousands_are_written_out(value: float, text: str) -> None:
    assert number(value) == text
