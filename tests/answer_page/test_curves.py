import math
import re

from telemetry.answer_page.curves import Chart, Curve, in_svg, ticks


def chart(*points: tuple[float, float]) -> str:
    curve = Curve(name="loss", points=points)
    return in_svg(Chart(title="t", description="d", x_label="x", y_label="y", curves=[curve]), "id")


def test_ticks_are_round_and_within() -> None:
    assert ticks(0, 1) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.5, 0.5) == [-0.4, -0.2, 0.0, 0.2, 0.4]
    assert ticks(0, 145) == [0.0, 50.0, 100.0]
    assert ticks(1e-7, 3e-7) == [1e-7, 1.5e-7, 2e-7, 2.5e-7, 3e-7]


def test_points_lie_where_their_values_are() -> None:
    drawing = chart((0, 0), (1, 10))
    assert 'cx="64.0" cy="244.0"' in drawing  # left and low
    assert 'cx="620.0" cy="16.0"' in drawing  # right and high


def test_what_is_not_finite_is_left_out() -> None:
    assert chart((0, math.nan), (1, math.inf)) == ""
    assert chart((0, 1.0), (1, math.nan), (2, 1e300)).count("<circle") == 1


def test_one_value_alone_has_a_scale() -> None:
    assert chart((3.0, 5.0)).count("<circle") == 1
    assert chart((0.0, 0.0)).count("<circle") == 1


def test_bars_stand_on_zero_side_by_side_and_no_line_joins_them() -> None:
    curves = [
        Curve(name=name, points=[(0.0, 0.5), (1.0, 1.0)], bars=1.0) for name in ("train", "test")
    ]
    drawing = in_svg(
        Chart(
            title="t",
            description="d",
            x_label="cards",
            y_label="share",
            curves=curves,
            y_range=(0.0, 1.0),
        ),
        "id",
    )
    bars = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawing
    )
    places = [tuple(map(float, bar)) for bar in bars if bar[2] != "24"]
    assert len(places) == 4
    assert all(math.isclose(top + height, 244, abs_tol=0.2) for _, top, _, height in places)
    (first, _, width, _), *_, (_, _, _, whole) = places
    assert math.isclose(first + width, places[2][0], abs_tol=0.2)
    assert whole == 228.0
    assert drawing.count("<circle") == 0
