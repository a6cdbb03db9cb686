"""Columns of a query as arrays: NULL, NaN, slices and every type of number."""

import math
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from telemetry.store.sessions.rows import Rows


@given(
    chunks=some.lists(
        some.lists(some.one_of(some.none(), some.floats(allow_infinity=True)), max_size=20),
        max_size=3,
    ),
    start=some.integers(0, 10),
)
def test_known_is_what_arrow_calls_valid(chunks: list[list[float | None]], start: int) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.float64()) for chunk in chunks], pa.float64())
    rows = Rows(pa.table({"value": column}).slice(start))
    expected = [value is not None for value in rows.arrow.column("value").to_pylist()]
    assert rows.known("value").tolist() == expected
    floats = rows.floats("value")
    assert floats.dtype == np.float64
    assert np.isnan(floats[~rows.known("value")]).all()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 3], pa.int32()),
        pa.array([1, None, 3], pa.uint64()),
        pa.array([1.0, None, 3.0], pa.float32()),
        pa.array(["1", None, "3"]),
    ],
    ids=str,
)
def test_every_number_becomes_a_float(column: pa.Array) -> None:
    first, second, third = Rows(pa.table({"value": column})).floats("value")
    assert (first, third) == (1.0, 3.0)
    assert math.isnan(second)


def test_whole_numbers_stay_whole() -> None:
    rows = Rows(pa.table({"step": pa.array([0, 2**53 + 1]), "rank": pa.array([1, 2], pa.int16())}))
    assert rows.ints("step").tolist() == [0, 2**53 + 1]
    assert rows.ints("rank").tolist() == [1, 2]


def test_reading_numbers_does_not_load_what_computes() -> None:
    script = (
        "import sys, pyarrow as pa; from telemetry.store.sessions.rows import Rows;"
        "rows = Rows(pa.table({'step': [1, 2], 'loss': [1.0, None]}));"
        "rows.ints('step'), rows.floats('loss'), rows.floats('step'), rows.known('loss');"
        "sys.exit('pyarrow.compute' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
