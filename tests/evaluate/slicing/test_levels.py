"""Columns as levels: the condition of a level holds for its examples and for no others."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.evaluate.slicing.levels import MAX_LEVELS, column_levels
from telemetry.evaluate.stored.metadata import MAX_COLUMNS, metadata_columns
from telemetry.store.user_sql.expressions import matching

TEXTS = st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=60)
NUMBERS = st.lists(st.none() | st.floats() | st.integers(-3, 3).map(float), min_size=1, max_size=60)
TRUTHS = st.lists(st.none() | st.booleans(), min_size=1, max_size=9)
NAMES = st.text(min_size=1, max_size=4).filter(lambda name: "\0" not in name)


def column(values: list[object]) -> pa.ChunkedArray:
    kinds = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    kind = next((kinds[type(v)] for v in values if v is not None), pa.string())
    return pa.chunked_array([pa.array(values, kind)])


@settings(deadline=None, max_examples=12)
@given(NAMES, TEXTS | NUMBERS | TRUTHS)
def test_each_condition_chooses_the_examples_of_its_level(name: str, values: list[object]) -> None:
    values = [v.replace("\0", "") if isinstance(v, str) else v for v in values]
    rows = column(values)
    levels = column_levels(f"m_{name}", rows)
    table = pa.table({f"m_{name}": rows})

    assert len(levels.levels) <= MAX_LEVELS + 1
    assert set(levels.codes.tolist()) <= set(range(len(levels.levels)))
    for place, level in enumerate(levels.levels):
        assert matching(table, level.where).tolist() == (levels.codes == place).tolist()


def test_many_numbers_become_five_bins_of_equal_size() -> None:
    levels = column_levels("m_x", pa.chunked_array([pa.array(np.arange(100.0))]))
    assert np.bincount(levels.codes).tolist() == [20] * 5
    assert [level.label for level in levels.levels] == [
        "< 19.8",
        "19.8 .. 39.6",
        "39.6 .. 59.4",
        "59.4 .. 79.2",
        ">= 79.2",
    ]


def test_rare_texts_become_one_level() -> None:
    texts = [f"t{i}" for i in range(19)] * 2 + ["rare", "rarer"]
    levels = column_levels("m_x", pa.chunked_array([pa.array(texts)]))
    assert len(levels.levels) == 20
    assert levels.levels[-1].label == "other"
    assert int((levels.codes == 19).sum()) == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e2"], pa.float64()),
        (["true", "false", None], pa.bool_()),
        (["1", "two"], pa.string()),
        (["1_000", "2"], pa.string()),
        (["true", "1"], pa.string()),
        ([1, 2.5, True], pa.string()),  # true is no number
    ],
)
def test_metadata_gets_the_type_of_all_its_values(values: list[object], kind: pa.DataType) -> None:
    columns = metadata_columns([json.dumps({"key": value}) for value in values])
    assert columns["m_key"].type == kind


def test_the_most_used_keys_become_columns() -> None:
    cells = [json.dumps({f"k{i:02d}": "x" for i in range(n)}) for n in (5, 80, 80)]
    columns = metadata_columns([*cells, None, "{}"])
    assert len(columns) == MAX_COLUMNS
    assert {f"m_k{i:02d}" for i in range(5)} <= columns.keys()
    assert columns["m_k63"].null_count == 3


def test_keys_that_sql_cannot_tell_apart_are_one_column() -> None:
    assert list(metadata_columns(['{"Time": "a", "time": "b"}'])) == ["m_Time"]
