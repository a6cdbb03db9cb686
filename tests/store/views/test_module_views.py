"""What the views say about modules: units that are dead on every rank, values in rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import RunBuilder

from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store


def query(store: Path, sql: str) -> Rows:
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        return session.query(sql)


@settings(max_examples=6, deadline=None)
@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=40),
    n_left_out=st.integers(0, 3),
)
def test_profiles_are_the_float32_values_with_their_places(
    values: Sequence[float], n_left_out: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("store")
    kept = np.array(values, dtype="<f4")
    builder = RunBuilder(store=store).module("rnn", type_="GRU")
    n_profile = len(kept) + n_left_out
    builder.activation("rnn", "input_grad", 4, profile=kept.tobytes(), n_profile=n_profile)
    builder.activation("rnn", "output", 4)
    builder.write()

    found = query(store, "SELECT * FROM profiles ORDER BY position")

    assert set(found.texts("layer")) == {"rnn"}
    assert set(found.texts("site")) == {"input_grad"}
    assert found.ints("position").tolist() == list(range(n_left_out, n_profile))
    np.testing.assert_array_equal(found.floats("value"), kept.astype(np.float64))


def bits(*dead: int, n_units: int) -> bytes:
    marked = np.isin(np.arange(n_units), dead)
    return np.packbits(marked, bitorder="little").tobytes()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 3, 39), (3, 39), 2),
        ((0, 1), (2, 3), 0),
        ((0, 1), (), 0),
        (range(40), range(40), 40),
        ((31, 32), (32, 33), 1),
    ],
)
def test_a_unit_is_dead_if_it_fired_on_no_rank(
    tmp_path: Path, first: Sequence[int], second: Sequence[int], expected: int
) -> None:
    for rank, dead in enumerate((first, second)):
        builder = RunBuilder(store=tmp_path, rank=rank).module("act", type_="ReLU")
        builder.activation(
            "act", "output", 4, n_units=40, n_dead=len(dead), window_samples=700 - rank,
            dead=bits(*dead, n_units=40) if dead else None,
        )  # fmt: skip
        builder.activation("act", "output", 4, phase="eval", n_units=40)
        builder.write()

    shown = query(tmp_path, "SELECT dead_share FROM activations ORDER BY phase").records()
    points = query(tmp_path, "SELECT n_units, n_dead, window_samples FROM dead_points").records()

    assert [row["dead_share"] for row in shown] == [None, pytest.approx(expected / 40)]
    assert points == [{"n_units": 40, "n_dead": expected, "window_samples": 700}]


def test_dead_units_of_the_only_rank_are_the_same_beside_a_run_of_two(tmp_path: Path) -> None:
    def run(name: str, rank: int = 0) -> None:
        builder = RunBuilder(store=tmp_path, run=name, rank=rank).module("act", type_="ReLU")
        dead = bits(2, 5 + rank, n_units=9)
        builder.activation(
            "act", "output", 4, n_units=9, n_dead=2, window_samples=600, dead=dead
        ).write()

    statement = "SELECT * FROM dead_points WHERE run <> 'other-run'"
    run("20260102-030405-aaaaaa")
    alone = query(tmp_path, statement).arrow
    run("other-run", rank=0)
    run("other-run", rank=1)

    merged = query(tmp_path, statement).arrow

    assert merged.schema == alone.schema
    assert merged.to_pylist() == alone.to_pylist()
