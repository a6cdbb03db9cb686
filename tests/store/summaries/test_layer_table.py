from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.store.store import Store
from telemetry.store.summaries import layer_table


@pytest.mark.parametrize(
    ("with_tensors", "steps"),
    [(True, [0, 10]), (False, [20])],
    ids=["an evaluation is no sample", "without tensors a training forward is one"],
)
def test_steps_of_the_table_are_those_that_fill_it(
    with_tensors: bool,  # noqa: FBT001 - a case, not an option
    steps: list[int],
    tmp_path: Path,
) -> None:
    run = RunBuilder(tmp_path).losses([1.0] * 30).parameter("fc.weight", shape=(4, 4), depth=0)
    run.module("fc").activation("fc", "output", 20).activation("fc", "output", 29, phase="eval")
    if with_tensors:
        for step in (0, 10):
            run.norm("fc.weight", "gradient", step, 1.0, n=16)
    run.write()
    store = Store.open(tmp_path)
    chosen = store.select("latest")
    with store.session([chosen]) as session:
        assert layer_table.sampled_steps(session, chosen).tolist() == steps


def test_a_probe_stands_in_where_training_forwards_were_not_seen(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).losses([1.0] * 30)
    for path in ("seen", "hidden", "tanh"):
        run.module(path)
    for step in (0, 10, 20):
        run.activation("seen", "output", step, n_units=8, n_dead=2)
        run.activation("seen", "output", step, n_units=8, n_dead=8, phase="probe")
        run.activation("hidden", "output", step, n_units=8, n_dead=4, n_nan=step, phase="probe")
        run.activation("hidden", "output", step, n_units=8, n_dead=8, phase="no_grad")
        run.activation("tanh", "output", step, n_units=8, n_saturated=6, phase="probe")
    run.write()
    store = Store.open(tmp_path)
    chosen = store.select("latest")
    shown = layer_table.Window(first=0, last=29)
    with store.session([chosen]) as session:
        rows = layer_table.layer_rows(session, chosen, shown=shown, trend=shown)
    shares = {row.layer: (row.dead_share, row.saturated_share, row.nonfinite) for row in rows}
    assert shares == {
        "seen": (0.25, None, 0),
        "hidden": (0.5, None, 20),
        "tanh": (None, 0.75, 0),
    }
