"""Slices: the planted one is found, and nothing where nothing is planted."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from judged_examples import DATASET, Table, add_examples, judged_run
from synthetic import START, RunBuilder

from telemetry import Store
from telemetry.errors import Inconclusive, UsageError
from telemetry.evaluate.slicing import slices
from telemetry.evaluate.slicing.slices import Metric, Search, SlicedRun


def stored(path: Path, table: Table, **columns: object) -> Store:
    add_examples(
        RunBuilder(store=path), (~table.wrong).tolist(), table.metadata(), **columns
    ).write()
    return Store.open(path)


def subject(store: Store, **options: object) -> SlicedRun:
    return SlicedRun(run=store.select("latest"), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Store:
    table = Table(seed=2)
    table.plant({"b": "2", "e": "3"}, error=0.35)
    return stored(tmp_path_factory.mktemp("planted"), table)


def test_the_planted_slice_is_the_one_finding(planted: Store) -> None:
    found = slices.find(planted, subject(planted))

    assert [s.conditions for s in found.slices] == [(("m_b", "2"), ("m_e", "3"))]
    (worst,) = found.slices
    assert worst.where == "m_b = 2 AND m_e = 3"
    assert 120 < worst.n < 200
    assert worst.value == pytest.approx(0.35, abs=0.08)
    assert worst.rest == pytest.approx(0.1, abs=0.02)
    assert worst.ci_low < worst.value - worst.rest < worst.ci_high
    assert worst.p <= worst.q < 1e-6
    assert len(worst.examples) == 5
    assert found.is_worse
    assert found.n_found > 1  # its parents too, which it explains
    assert found.answer.startswith("worst where m_b = 2 and m_e = 3: error ")


def test_the_condition_of_a_slice_measures_the_same_slice(planted: Store) -> None:
    (worst,) = slices.find(planted, subject(planted)).slices
    again = slices.measure(planted, subject(planted), worst.where)

    (same,) = again.slices
    assert (same.n, same.value, same.rest, same.p) == (worst.n, worst.value, worst.rest, worst.p)
    assert same.q == same.p < worst.q  # one test, not hundreds
    assert again.is_worse
    assert "is worse than the rest" in again.answer


def test_a_group_like_the_rest_is_not_worse(planted: Store) -> None:
    found = slices.measure(planted, subject(planted), "m_a = '1'")
    assert not found.is_worse
    assert "is not worse than" in found.answer


def test_other_columns_do_not_show_it(planted: Store) -> None:
    found = slices.find(planted, subject(planted), Search(by=("a", "m_c")))
    assert found.slices == ()
    assert found.answer.startswith("no group of examples is worse than the rest; ")


def test_three_conditions_do_not_repeat_what_two_explain(planted: Store) -> None:
    found = slices.find(planted, subject(planted), Search(depth=3, min_size=30))
    assert [s.conditions for s in found.slices] == [(("m_b", "2"), ("m_e", "3"))]


def test_the_half_that_did_not_search_confirms(planted: Store) -> None:
    found = slices.find(planted, subject(planted), Search(confirm=True))
    assert found.confirmed
    (worst,) = found.slices
    assert worst.conditions == (("m_b", "2"), ("m_e", "3"))
    whole = slices.find(planted, subject(planted)).slices[0]
    assert worst.n == pytest.approx(whole.n / 2, abs=25)


def test_losses_show_it_too(planted: Store) -> None:
    found = slices.find(planted, subject(planted, metric=Metric.LOSS))
    assert [s.conditions for s in found.slices] == [(("m_b", "2"), ("m_e", "3"))]
    assert found.overall == pytest.approx(0.1 + 1.9 * 0.11, abs=0.03)


def test_two_planted_slices_are_two_findings(tmp_path: Path) -> None:
    table = Table(seed=5)
    table.plant({"b": "2", "e": "3"}, error=0.5)
    table.plant({"c": "1", "h": "0"}, error=0.45)
    store = stored(tmp_path, table)
    found = slices.find(store, subject(store))
    assert {s.conditions for s in found.slices} == {
        (("m_b", "2"), ("m_e", "3")),
        (("m_c", "1"), ("m_h", "0")),
    }


def test_columns_of_every_kind_make_levels(tmp_path: Path) -> None:
    table = Table(n=2_000, seed=1)
    generator = np.random.default_rng(0)
    brightness = generator.random(2_000)
    dark = brightness < 0.2
    table.wrong = generator.random(2_000) < np.where(dark, 0.5, 0.1)
    table.columns = {
        "brightness": [f"{value:.6f}" for value in brightness],
        "outdoors": ["true" if i % 3 else "false" for i in range(2_000)],
        "camera": [f"camera {i % 30}" for i in range(2_000)],
        "file": [f"{i}.png" for i in range(2_000)],
        "Class": [str(i % 10) for i in range(2_000)],
    }
    store = stored(tmp_path, table)

    found = slices.find(store, subject(store), Search(depth=1))

    (worst,) = found.slices
    assert worst.conditions[0][0] == "m_brightness"
    assert worst.conditions[0][1].startswith("< 0.19")
    assert worst.where.startswith("m_brightness < 0.19")
    assert slices.measure(store, subject(store), worst.where).slices[0].n == worst.n
    assert [w.partition(" is not used: ")[0] for w in found.warnings] == ["m_Class", "m_file"]
    tested = 10 + 5 + 2 + 20  # labels, bins, truth values, 19 cameras and the others
    assert found.tested == tested


def test_a_column_that_tells_the_answer_is_set_apart(tmp_path: Path) -> None:
    table = Table(n=500)
    table.columns["verdict"] = ["bad" if wrong else "good" for wrong in table.wrong]
    store = stored(tmp_path, table)
    found = slices.find(store, subject(store))
    assert found.telling == ("m_verdict",)
    assert not found.is_worse
    by_loss = slices.find(store, subject(store, metric=Metric.LOSS))
    assert (by_loss.telling, by_loss.is_worse) == (("m_verdict",), False)


def test_a_column_that_tells_the_answer_explains_no_change_either(tmp_path: Path) -> None:
    before, after = Table(n=500, seed=3), Table(n=500, seed=4)
    after.columns["verdict"] = ["bad" if wrong else "good" for wrong in after.wrong]
    for name, table in (("before", before), ("after", after)):
        judged_run(tmp_path, name, (~table.wrong).tolist(), metadata=table.metadata())
    store = Store.open(tmp_path)
    found = slices.find(store, SlicedRun(run=store.select("after"), base=store.select("before")))
    assert found.telling == ("m_verdict",)


def test_the_change_since_another_run_has_slices(tmp_path: Path) -> None:
    before, after = Table(seed=7), Table(seed=7)
    inside = after.plant({"d": "4", "g": "0"}, error=0.45)
    for name, table in (("before", before), ("after", after)):
        judged_run(tmp_path, name, (~table.wrong).tolist(), metadata=table.metadata())
    store = Store.open(tmp_path)

    found = slices.find(store, SlicedRun(run=store.select("after"), base=store.select("before")))

    assert [s.conditions for s in found.slices] == [(("m_d", "4"), ("m_g", "0"))]
    change = after.wrong[inside].mean() - before.wrong[inside].mean()
    assert found.slices[0].value == pytest.approx(change)
    assert found.slices[0].rest == pytest.approx(0)
    same = slices.find(store, SlicedRun(run=store.select("after"), base=store.select("after")))
    assert not same.is_worse


def test_a_change_everywhere_is_no_slice(tmp_path: Path) -> None:
    before, after = Table(seed=8), Table(seed=8)
    after.wrong |= np.random.default_rng(1).random(after.n) < 0.2
    for name, table in (("before", before), ("after", after)):
        judged_run(tmp_path, name, (~table.wrong).tolist(), metadata=table.metadata())
    store = Store.open(tmp_path)
    found = slices.find(store, SlicedRun(run=store.select("after"), base=store.select("before")))
    assert found.overall == pytest.approx(0.18, abs=0.02)
    assert not found.is_worse


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (Search(by=("nothing",)), "there is no column 'nothing' to slice by"),
        (Search(by=("mm_b",)), "did you mean"),
    ],
)
def test_columns_that_cannot_be_are_named(planted: Store, search: Search, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        slices.find(planted, subject(planted), search)
    assert words in str(refused.value)


def test_ids_and_the_label_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    table = Table(n=300)
    table.columns |= {
        "file": [f"{i}.png" for i in range(300)],
        "klass": [f"class {i % 10}" for i in range(300)],
    }
    store = stored(tmp_path, table)
    with pytest.raises(UsageError, match="100 % of its values are distinct"):
        slices.find(store, subject(store), Search(by=("file",)))
    with pytest.raises(UsageError, match="label under another name"):
        slices.find(store, subject(store), Search(by=("klass",)))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"depth": 0}, "depth is 0"), ({"min_size": 0}, "min-size is 0"), ({"q": 1.0}, "q is 1")],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Search(**options)  # type: ignore[arg-type]


def test_few_examples_answer_nothing(tmp_path: Path) -> None:
    store = stored(tmp_path, Table(n=80))
    with pytest.raises(Inconclusive, match="80 examples are too few"):
        slices.find(store, subject(store))
    with pytest.raises(Inconclusive, match="holds for 0 of 80 examples"):
        slices.measure(store, subject(store), "m_a = 9")


def test_the_newest_evaluation_counts_unless_another_is_named(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path)
    add_examples(builder, [True] * 200, eval_id="aaaa1111")
    add_examples(
        builder, [False] * 200, eval_id="bbbb2222", written_at=START + timedelta(seconds=5)
    )
    add_examples(
        builder,
        [False] * 200,
        eval_id="bbbb2222",
        written_at=START + timedelta(seconds=5),
        dataset="other:set",
    )
    builder.write()
    store = Store.open(tmp_path)

    assert slices.find(store, subject(store, dataset=DATASET)).overall == 1.0
    assert slices.find(store, subject(store, eval_id="aaaa")).overall == 0.0
    for wrong, words in (
        ({}, "several data sets"),
        ({"dataset": "shop.data:vald"}, "did you mean shop.data:valid?"),
        ({"eval_id": "cccc"}, "matches none or several"),
    ):
        with pytest.raises(UsageError) as refused:
            slices.find(store, subject(store, **wrong))
        assert words in str(refused.value)


def test_a_run_without_evaluations_says_how_to_make_one(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path).losses([1.0]).write()
    store = Store.open(tmp_path)
    with pytest.raises(UsageError, match="`telemetry evaluate"):
        slices.find(store, subject(store))


@pytest.mark.parametrize(
    ("passes", "overall"),
    [
        ([("last", 90, False), ("early", 10, True)], 1.0),
        ([("last", 90, True), ("early", 10, False), ("best", None, False)], 1.0),
        ([("best", None, False), ("last", 90, True)], 0.0),
    ],
)
def test_the_newest_checkpoint_counts_whatever_was_judged_last(
    tmp_path: Path, passes: list[tuple[str, int | None, bool]], overall: float
) -> None:
    builder = RunBuilder(store=tmp_path)
    for place, (name, step, correct) in enumerate(passes):
        add_examples(
            builder,
            [correct] * 200,
            eval_id=name,
            checkpoint=name,
            step=step,
            written_at=START + timedelta(seconds=place),
        )
    builder.write()
    store = Store.open(tmp_path)
    assert slices.find(store, subject(store)).overall == overall


def test_losses_are_judged_where_nothing_is_right_or_wrong(tmp_path: Path) -> None:
    table = Table(seed=2)
    table.plant({"b": "2", "e": "3"}, error=0.35)
    numbers = dict.fromkeys(("correct", "label", "prediction"))
    store = stored(tmp_path, table, **numbers)
    found = slices.find(store, subject(store))
    assert found.metric is Metric.LOSS
    assert [s.conditions for s in found.slices] == [(("m_b", "2"), ("m_e", "3"))]
    with pytest.raises(UsageError, match="no example has a finite error"):
        slices.find(store, subject(store, metric=Metric.ERROR))
