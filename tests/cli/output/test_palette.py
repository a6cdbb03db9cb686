import colorsys

import pytest

from telemetry.cli.output.palette import nearest

LEVELS = (0, 95, 135, 175, 215, 255)


def rgb(number: int) -> tuple[int, int, int]:
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    place = number - 16
    return LEVELS[place // 36], LEVELS[place // 6 % 6], LEVELS[place % 6]


@pytest.mark.parametrize(
    ("colour", "number"),
    [("#000000", 16), ("#ffffff", 231), ("#0000ff", 21), ("#d7875f", 173), ("#808080", 244)],
)
def test_a_colour_of_the_palette_is_itself(colour: str, number: int) -> None:
    assert nearest(colour) == number


def test_paler_and_paler_orange_never_turns_pink_or_yellow() -> None:
    """The map from #b35806 to #f7f7f7: red over green over blue, or grey."""
    for step in range(17):
        mixed = [round(a + (b - a) * step / 16) for a, b in ((179, 247), (88, 247), (6, 247))]
        red, green, blue = rgb(nearest("#{:02x}{:02x}{:02x}".format(*mixed)))
        hue = colorsys.rgb_to_hsv(red, green, blue)[0] * 360
        assert red == green == blue or 15 <= hue <= 45


def test_paler_and_paler_blue_stays_blue() -> None:
    for step in range(17):
        mixed = [round(a + (b - a) * step / 16) for a, b in ((33, 247), (102, 247), (172, 247))]
        red, green, blue = rgb(nearest("#{:02x}{:02x}{:02x}".format(*mixed)))
        hue = colorsys.rgb_to_hsv(red, green, blue)[0] * 360
        assert red == green == blue or 190 <= hue <= 250  # between cyan and violet
