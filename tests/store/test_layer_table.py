from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.store import layer_table
from telemetry.store.store import Store


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
