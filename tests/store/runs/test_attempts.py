"""Which attempt of a run the views show."""

from pathlib import Path

from synthetic import RunBuilder

from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store


def query(store: Path, sql: str, **options: bool) -> Rows:
    opened = Store.open(store)
    with opened.session(opened.runs(), **options) as session:
        return session.query(sql)


def one_parameter(store: Path, **options: int) -> RunBuilder:
    return RunBuilder(store=store, **options).parameter("fc.weight", shape=(4, 16), depth=3)


def test_a_resumed_run_hides_the_steps_it_repeats(tmp_path: Path) -> None:
    first = one_parameter(tmp_path).losses([5.0] * 6)
    first.metric("val_loss", {4: 5.0}).event("attach", step=5)
    first.norm("fc.weight", "gradient", 5, 5.0, n=64).write()
    second = one_parameter(tmp_path, attempt=2)
    for step in (3, 4, 5):
        second.add("steps", step=step, loss=1.0, flags=1)
    second.norm("fc.weight", "gradient", 5, 1.0, n=64).event("attach", step=3).write()

    assert query(tmp_path, "SELECT loss FROM steps ORDER BY step").floats("loss").tolist() == [
        5.0,
        5.0,
        5.0,
        1.0,
        1.0,
        1.0,
    ]
    assert query(tmp_path, "SELECT grad_norm FROM layers").floats("grad_norm").tolist() == [1.0]
    assert len(query(tmp_path, "SELECT * FROM metrics")) == 0
    assert len(query(tmp_path, "SELECT * FROM events")) == 2
    everything = query(tmp_path, "SELECT loss FROM steps", all_attempts=True)
    assert len(everything) == 9


def test_an_attempt_that_died_before_its_first_step_hides_nothing(tmp_path: Path) -> None:
    one_parameter(tmp_path, attempt=2).write()
    one_parameter(tmp_path).losses([1.0, 2.0]).write()

    assert len(query(tmp_path, "SELECT * FROM steps")) == 2
    starts = query(tmp_path, "SELECT attempt, start_step FROM attempts ORDER BY attempt").records()
    assert starts == [{"attempt": 1, "start_step": 0}, {"attempt": 2, "start_step": None}]
