import pytest
from golden_text import is_same_json

TEXT = '{\n "at": "03:04:05.25",\n "steps": 200,\n "norms": [0.66359713, 2.5e-08, null]\n}\n'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.66359713", "0.66359719"),
        ("0.66359713", "0.6635971"),
        ("2.5e-08", "2.51e-08"),  # less than 1e-9 apart
        ("2.5e-08", "0.000000025"),
    ],
)
def test_the_last_digits_of_a_fraction_may_differ(old: str, new: str) -> None:
    assert is_same_json(TEXT, TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.66359713", "0.66369713"),
        ("0.66359713", "-0.66359713"),
        ("0.66359713", "null"),
        ("0.66359713", "0.66359713, 0.1"),
        ("200", "201"),
        ("200", "200.0"),
        ("05.25", "05.2500001"),  # within a string
        ("norms", "Norms"),
        ("null", "0.0"),
        ("\n}", "\n }"),
    ],
)
def test_nothing_else_may(old: str, new: str) -> None:
    assert not is_same_json(TEXT, TEXT.replace(old, new))
