"""Numbers within the sentences of a verdict."""

import math

import pytest

from telemetry.compare import reasons


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0712, "+7.12 %"),
        (-0.00337, "-0.337 %"),
        (0.0, "+0 %"),
        (-3.4, "-340 %"),
        (12.345, "+1230 %"),
        (-123.4, "-12300 %"),
        (1e10, "+1e+12 %"),
        (math.inf, "+inf"),
    ],
)
def test_a_change_of_thousands_is_no_power_of_ten(share: float, text: str) -> None:
    assert reasons.percent(share) == text
