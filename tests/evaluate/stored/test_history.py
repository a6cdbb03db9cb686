"""Examples over the evaluations of a run, with their fates planted."""

from datetime import timedelta
from pathlib import Path

import pytest
from judged_examples import DATASET, add_examples
from synthetic import START, RunBuilder

from telemetry import Store
from telemetry.errors import UsageError
from telemetry.evaluate.stored.history import History, read_history

STEPS = (10, 20, 30, 40)
# Right (1) or wrong (0) at each step, and the confidence of the last answer.
PLANTED = {
    "always": ("1111", 0.99),
    "back": ("1011", 0.7),
    "forgotten": ("1010", 0.95),
    "late": ("0001", 0.6),
    "never": ("0000", 0.5),
}


def planted_run(store: Path) -> RunBuilder:
    builder = RunBuilder(store, name="planted")
    for place, step in enumerate(STEPS):
        add_examples(
            builder,
            [fate[place] == "1" for fate, _ in PLANTED.values()],
            example_id=list(PLANTED),
            confidence=[confidence for _, confidence in PLANTED.values()],
            eval_id=f"eval-{step}",
            step=step,
            # The batches of one evaluation are logged one after the other.
            written_at=[START + timedelta(seconds=step, milliseconds=i) for i in range(5)],
        )
    return builder


def history(store: Path, **options: str) -> History:
    opened = Store.open(store)
    return read_history(opened, opened.select("latest"), **options)


def test_each_example_has_the_fate_that_was_planted(tmp_path: Path) -> None:
    planted_run(tmp_path).write()
    found = history(tmp_path)
    assert (found.dataset, found.steps) == (DATASET, STEPS)
    fates = {
        fate.example_id: (fate.learned, fate.n_forgotten, fate.correct) for fate in found.fates
    }
    assert fates == {
        "always": (10, 0, True),
        "back": (30, 1, True),
        "forgotten": (None, 2, False),
        "late": (40, 0, True),
        "never": (None, 0, False),
    }
    assert [fate.example_id for fate in found.late] == ["late", "back"]
    assert [fate.example_id for fate in found.forgotten] == ["forgotten", "back"]
    assert [fate.example_id for fate in found.surely_wrong] == ["forgotten"]
    assert {fate.example_id for fate in found.never} == {"forgotten", "never"}


def test_of_a_step_that_was_evaluated_twice_the_later_pass_counts_whole(tmp_path: Path) -> None:
    builder = planted_run(tmp_path)
    again = START + timedelta(hours=1)
    add_examples(
        builder, [True, True], example_id=["always", "never"], eval_id="again", step=40,
        written_at=[again, again + timedelta(seconds=1)],
    )  # fmt: skip
    builder.write()
    fates = {fate.example_id: fate for fate in history(tmp_path).fates}
    assert fates["never"].learned == 40
    assert fates["late"].learned is None  # its last answer is that of step 30


def test_data_sets_are_chosen_by_their_number_of_evaluations_or_by_name(tmp_path: Path) -> None:
    builder = planted_run(tmp_path)
    add_examples(builder, [True], dataset="other", eval_id="o", step=10)
    builder.write()
    assert history(tmp_path).dataset == DATASET
    assert len(history(tmp_path, dataset="other").fates) == 1
    with pytest.raises(UsageError, match="data set 'othr' was not evaluated"):
        history(tmp_path, dataset="othr")


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    RunBuilder(tmp_path, name="none").write()
    with pytest.raises(UsageError, match="has no evaluated examples; create them with"):
        history(tmp_path)
    builder = RunBuilder(tmp_path / "other", name="unlabelled")
    add_examples(builder, [True], correct=None)
    builder.write()
    with pytest.raises(UsageError, match="it is not known which answers"):
        history(tmp_path / "other")


def test_the_last_evaluation_stands_alone_where_no_step_is_known(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path, name="base")
    for place, right in enumerate(([True, True], [True, False])):
        add_examples(
            builder,
            right,
            example_id=["first", "second"],
            eval_id=f"e{place}",
            step=None,
            confidence=0.95,
            written_at=START + timedelta(seconds=place),
        )
    builder.write()
    found = history(tmp_path)
    assert (found.steps, found.late, found.forgotten) == ((), [], [])
    assert [fate.example_id for fate in found.surely_wrong] == ["second"]
    assert {fate.learned for fate in found.fates} == {None}
