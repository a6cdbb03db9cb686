import pytest

from telemetry.explain.pictures.lettering import can_draw, drawable, folded, length, shortened

pytestmark = pytest.mark.torch


def test_letters_lose_their_marks_and_others_become_code_points() -> None:
    assert drawable("Zürich, naïve, Łódź, Straße, søt") == "Zurich, naive, Lodz, Strasse, sot"
    assert drawable("猫\U0001f642") == "\\u732b\\U0001f642"
    assert drawable("a\x1b[31mb\nc") == "a [31mb c"


def test_what_would_be_code_points_or_blank_cannot_be_drawn() -> None:
    assert can_draw("Zürich")
    assert not can_draw("кот")
    assert not can_draw(" ")


def test_lines_keep_within_their_width_and_lose_no_letter() -> None:
    text = "the quick brown fox " + "x" * 100
    lines = folded(text, 120)
    assert max(map(length, lines)) <= 120
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert folded("", 120) == []


def test_a_long_text_ends_in_dots() -> None:
    assert shortened("short", 100) == "short"
    cut = shortened("a name that is far too long for it", 100)
    assert cut.endswith("...")
    assert length(cut) <= 100
