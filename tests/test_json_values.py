import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.json_values import Json, dumps, strict

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
