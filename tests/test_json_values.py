import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.json_values import Json, dumps, json_list, loads, parsed_object, strict

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@settings(deadline=None)
@given(DOCUMENTS)
def test_any_document_becomes_strict_json_and_comes_back(document: Json) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(dumps(document), parse_constant=refuse) == strict(document)


def test_numbers_that_json_lacks_are_words() -> None:
    assert json.loads(dumps({"a": [math.nan, math.inf, -math.inf]})) == {
        "a": ["nan", "inf", "-inf"]
    }


def test_keys_keep_their_order_and_text_is_readable() -> None:
    assert dumps({"b": 1, "a": "café"}) == '{"b": 1, "a": "café"}'


def test_keys_that_are_no_text_become_text() -> None:
    assert dumps({1: "x"}) == '{"1": "x"}'


def test_numbers_of_more_than_64_bits_are_read_as_floats() -> None:
    read = loads(f"[{2**64 - 1}, {2**64}, {-(10**400)}, {'9' * 5000}]")
    assert read == [2**64 - 1, float(2**64), -math.inf, math.inf]
    assert loads(f"[{2**64}]".encode("utf-16")) == [float(2**64)]
    assert isinstance(json_list(loads(f"[{2**64}]".encode("utf-16-le")))[0], float)
    assert json_list(loads("[1, 1.5]")) == [1, 1.5]


def test_what_is_no_object_is_read_as_an_empty_one() -> None:
    assert [parsed_object(text) for text in ("[1]", "{", "[" * 100_000, "", None)] == [{}] * 5


def test_a_lone_surrogate_is_written_as_its_escape() -> None:
    assert dumps(["\udce9"]) == '["\\udce9"]'
