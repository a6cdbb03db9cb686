from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.safe_text import clean, clean_lines

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_an_escape_sequence_is_written_out() -> None:
    assert clean("a\x1b[2Jb\x07") == "a\\x1b[2Jb\\x07"


def test_line_breaks_tabs_and_overrides_cannot_forge_a_line() -> None:
    assert clean("ok\nE fake\t\r\u202egnp.exe\x9b31m") == (
        "ok\\nE fake\\t\\r\\u202egnp.exe\\x9b31m"
    )


def test_lone_surrogates_and_tag_characters_are_written_out() -> None:
    assert clean("\ud800") == "\\ud800"
    assert clean("\U000e0041") == "\\U000e0041"


def test_letters_of_any_script_stay() -> None:
    assert clean("größe 学习率 λ µ") == "größe 学习率 λ µ"


def test_text_that_has_lines_keeps_them() -> None:
    assert clean_lines("a\n\x1bb") == "a\n\\x1bb"


@UNHURRIED
@given(st.text())
def test_a_cleaned_text_is_one_line_without_control_characters(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned.splitlines()) <= 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in cleaned)
    assert clean(cleaned) == cleaned
