"""Hypotheses of two models: the planted regression and nothing else, with and without seeds."""

import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from judged_examples import DATASET, add_examples
from judged_models import HALF, N, compared, write
from synthetic import START, RunBuilder

from telemetry import Store
from telemetry.compare.terms import Verdict
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing import comparison as hypotheses
from telemetry.evaluate.hypothesis_testing.hypothesis import Expectation, Hypothesis, Kind, Op
from telemetry.evaluate.hypothesis_testing.result import Comparison
from telemetry.evaluate.hypothesis_testing.verdicts import Rules

NAMES = ("", "blur", "brightness", "noise", "shift")


def answers(seed: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Answers of one seed: right in about 90 %, the level of a hypothesis varies by 1 %."""
    difficulty = np.random.default_rng(99).random((len(NAMES), N))
    generator = np.random.default_rng(seed)
    found = {}
    for place, name in enumerate(NAMES):
        level = 0.9 + 0.01 * generator.normal()
        noise = 0.03 * generator.normal(size=N)
        found[name] = difficulty[place] + noise < level
    return found


def spoiled(right: npt.NDArray[np.bool_], share: float, seed: int = 5) -> npt.NDArray[np.bool_]:
    return right & (np.random.default_rng(seed).random(len(right)) >= share)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seeds, a further seed, and a candidate that forgot 20 % of the noisy ones."""
    store = tmp_path_factory.mktemp("hypotheses")
    for seed in range(6):
        write(store, f"seed-{seed}", answers(seed))
    other = answers(17)
    write(store, "sister7", other)
    other["noise"] = spoiled(other["noise"], 0.2)
    write(store, "candid", other)
    return store


def seeds(folder: Path, names: Sequence[str]) -> list[object]:
    store = Store.open(folder)
    return [store.select(name) for name in names]


def verdicts(comparison: Comparison) -> dict[str, Verdict]:
    return {result.hypothesis: result.verdict for result in comparison.results}


def test_exactly_the_planted_regression_is_found(folder: Path) -> None:
    found = compared(folder, seeds=seeds(folder, [f"seed-{i}" for i in range(6)]))

    assert verdicts(found) == {
        name: Verdict.REGRESSION if name == "noise" else Verdict.NO_CHANGE for name in NAMES
    }
    assert found.verdict is Verdict.REGRESSION
    assert found.answer == "candid against seed-0: worse on noise"
    noise = found.results[0]
    assert noise.n == N
    assert noise.n_base_right_only is not None
    assert noise.n_cand_right_only is not None
    expected = (noise.n_cand_right_only - noise.n_base_right_only) / N
    assert noise.delta == pytest.approx(expected)
    assert noise.delta == pytest.approx(noise.cand_value - noise.base_value)
    assert noise.ci_low < noise.delta < noise.ci_high < 0
    assert noise.p_combined == max(noise.p_mcnemar, noise.p_seed) <= noise.q_value < 0.05
    assert noise.n_seeds == 6
    assert noise.detectable_drop < abs(noise.delta)


def test_seeds_are_found_by_their_configuration(folder: Path) -> None:
    found = compared(folder)
    assert {run.name for run in found.seeds} == {*(f"seed-{i}" for i in range(6)), "sister7"}
    assert found.verdict is Verdict.REGRESSION


def test_another_seed_is_no_regression_though_mcnemar_sees_one(folder: Path) -> None:
    six = seeds(folder, [f"seed-{i}" for i in range(6)])
    with_seeds = compared(folder, "sister7", seeds=six)
    alone = compared(folder, "sister7", seeds=[], rules=Rules(needs_seeds=False))
    assert with_seeds.verdict is Verdict.NO_CHANGE
    assert with_seeds.answer == "sister7 against seed-0: no hypothesis changed"
    assert {Verdict.REGRESSION, Verdict.IMPROVEMENT} & set(verdicts(alone).values())


def test_without_seeds_nothing_is_decided_unless_it_is_about_two_files(folder: Path) -> None:
    two = compared(folder, seeds=seeds(folder, ["seed-0", "seed-1"]))
    assert set(verdicts(two).values()) == {Verdict.INCONCLUSIVE}
    assert two.results[0].reason == "no seed baseline: 2 of 3 required seed runs"
    assert min(result.p_mcnemar for result in two.results) < 1e-10  # numbers are shown
    alone = compared(folder, seeds=[], rules=Rules(needs_seeds=False))
    assert verdicts(alone)["noise"] is Verdict.REGRESSION
    unasked = compared(folder, rules=Rules(needs_seeds=False))
    drops = [{r.hypothesis: r.detectable_drop for r in c.results} for c in (alone, unasked)]
    assert drops[0] == drops[1]  # seeds that do not decide do not hide anything


def test_the_candidate_is_no_seed_of_the_base(folder: Path) -> None:
    found = compared(folder, seeds=seeds(folder, ["seed-0", "seed-1", "candid"]))
    assert [run.name for run in found.seeds] == ["seed-0", "seed-1"]
    assert any("does not count as a seed run" in warning for warning in found.warnings)


def test_seeds_that_ran_another_script_are_told(tmp_path: Path) -> None:
    plain = {"": answers(0)[""]}
    for name, script in (("seed-0", "a1"), ("seed-1", "a1"), ("seed-2", "b2"), ("candid", "c3")):
        builder = write(tmp_path, name, plain)
        builder.environment = {"script": "train.py", "script_hash": script}
        builder.write()
    found = compared(tmp_path)
    assert any("seed-2 ran another script than seed-0" in told for told in found.warnings)
    chosen = compared(tmp_path, seeds=seeds(tmp_path, ["seed-0", "seed-1", "seed-2"]))
    assert not chosen.warnings


@pytest.mark.parametrize("keys", [("seed",), ("random_state",)])
def test_seeds_are_found_where_the_configuration_holds_the_seed_alone(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    plain = {"": answers(0)[""]}
    for place, (name, script) in enumerate(
        (("seed-0", "a1"), ("seed-1", "a1"), ("seed-2", ""), ("other", "b2"), ("candid", "b2"))
    ):
        builder = write(tmp_path, name, plain)
        builder.config = dict.fromkeys(keys, place)
        builder.environment = {"script": "train.py", "script_hash": script} if script else {}
        builder.write()
    untold = write(tmp_path, "untold", plain)
    untold.config = {}
    untold.write()
    assert {run.name for run in compared(tmp_path).seeds} == {"seed-0", "seed-1", "seed-2"}


def test_runs_whose_texts_alone_differ_are_told_where_seeds_lack(tmp_path: Path) -> None:
    plain = {"": answers(0)[""]}
    for seed in range(4):
        builder = write(tmp_path, f"seed-{seed}", plain)
        builder.config = {"lr": 0.1, "seed": seed, "out": f"runs/{seed}"}
        builder.write()
    other = write(tmp_path, "candid", plain)
    other.config = {"lr": 0.3, "seed": 0, "out": "runs/0"}
    other.write()
    (told,) = compared(tmp_path).warnings
    assert told.startswith("seed-3, seed-2, seed-1 would be seeds of seed-0 except for out, which")
    assert not compared(tmp_path, seeds=seeds(tmp_path, ["seed-0"])).warnings


def test_a_subset_needs_no_evaluation_of_its_own(folder: Path, tmp_path: Path) -> None:
    night = Hypothesis(
        name="night",
        statement="At night",
        kind=Kind.SUBSET,
        base=DATASET,
        where="m_time = 'night'",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
    )
    absent = Hypothesis(
        name="absent",
        statement="Never run",
        kind=Kind.INVARIANCE,
        base=DATASET,
        transform="shop:shift",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
    )
    found = compared(folder, hypotheses=[night, absent])
    by_name = {result.hypothesis: result for result in found.results}
    assert by_name["night"].n == N // 2
    assert by_name["night"].verdict is Verdict.NO_CHANGE
    assert any("absent was not evaluated on both sides" in warning for warning in found.warnings)

    of = answers(0)
    of[""] = of[""] & ~(np.array([t == "night" for t in HALF]) & (np.arange(N) % 3 == 0))
    for seed in range(4):
        write(tmp_path, f"seed-{seed}", {"": answers(seed)[""]})
    write(tmp_path, "candid", {"": of[""]}).add(
        "hypotheses", **night.to_row(), written_at=START
    ).write()  # stored with the run: no file is needed
    stored = {result.hypothesis: result for result in compared(tmp_path).results}
    assert stored["night"].verdict is Verdict.REGRESSION


def test_a_data_set_that_changed_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path, "seed-0", answers(0))
    changed = [f"other{i}" if i % 10 == 0 else f"d{i:05d}" for i in range(N)]
    write(tmp_path, "candid", answers(1), input_digest=changed)
    found = compared(tmp_path, rules=Rules(needs_seeds=False))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "90 of 900 examples have the same id but a different input" in found.results[0].reason


def test_examples_whose_inputs_were_not_kept_are_paired_by_id(tmp_path: Path) -> None:
    plain = {"": answers(0)[""]}
    write(tmp_path, "seed-0", plain)
    write(tmp_path, "candid", plain, input_digest=[""] * N)  # log_examples without inputs
    (found,) = compared(tmp_path, rules=Rules(needs_seeds=False)).results
    assert (found.n, found.verdict) == (N, Verdict.NO_CHANGE)


def test_few_examples_without_partner_are_left_out_and_counted(tmp_path: Path) -> None:
    plain = {"": answers(0)[""]}
    write(tmp_path, "seed-0", plain)
    names = [f"new{i}" if i < 20 else f"{i:05d}" for i in range(N)]
    write(tmp_path, "candid", plain, example_id=names)
    found = compared(tmp_path, rules=Rules(needs_seeds=False))
    assert found.verdict is Verdict.NO_CHANGE
    assert {result.n for result in found.results} == {N - 20}
    assert "40 examples have no partner" in found.warnings[0]
    write(tmp_path, "other0", plain, example_id=[f"{name}x" for name in names])
    alone = compared(tmp_path, "other0", rules=Rules(needs_seeds=False))
    assert "evaluated on one side only" in alone.results[0].reason


def test_copies_of_one_original_are_told(tmp_path: Path) -> None:
    plain = {"": answers(0)[""]}
    originals = [f"{i // 3}" for i in range(N)]
    write(tmp_path, "seed-0", plain, source_id=originals)
    write(tmp_path, "candid", {"": answers(1)[""]}, source_id=originals)
    found = compared(tmp_path, rules=Rules(needs_seeds=False))
    assert "900 examples come from 300 originals" in found.warnings[0]


def test_few_examples_decide_nothing(tmp_path: Path) -> None:
    for name, right in (("seed-0", [True] * 100), ("candid", [False] * 5 + [True] * 95)):
        builder = RunBuilder(store=tmp_path, run=f"20260102-030405-{name}", name=name)
        add_examples(builder, right).write()
    (found,) = compared(tmp_path, rules=Rules(needs_seeds=False)).results
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "5 of 100 answers differ; at least 6 are needed to decide"


def test_a_comparison_is_kept_once(folder: Path) -> None:
    found = compared(folder)
    assert hypotheses.keep(found)
    assert not hypotheses.keep(compared(folder))
    store = Store.open(folder)
    with store.session([store.select("candid")]) as session:
        rows = session.query(
            "SELECT hypothesis, verdict, n_seeds FROM hypothesis_results ORDER BY hypothesis"
        ).records()
    assert [row["hypothesis"] for row in rows] == list(NAMES)
    assert {row["verdict"] for row in rows if row["hypothesis"] == "noise"} == {"regression"}


def test_the_newest_checkpoint_of_a_run_is_compared(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path, run="20260102-030405-candid", name="candid")
    add_examples(builder, [False] * N, eval_id="old", checkpoint="old")
    late = START + timedelta(seconds=9)
    add_examples(builder, [True] * N, eval_id="new", checkpoint="new", written_at=late)
    builder.write()
    write(tmp_path, "seed-0", {"": np.ones(N, dtype=np.bool_)})
    (found,) = compared(tmp_path, rules=Rules(needs_seeds=False)).results
    assert (found.cand_eval, found.delta, found.verdict) == ("new", 0.0, Verdict.NO_CHANGE)


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    write(tmp_path, "seed-0", {"": np.ones(N, dtype=np.bool_)})
    RunBuilder(store=tmp_path, run="20260102-030405-plain0", name="plain").losses([1.0]).write()
    write(tmp_path, "other1", {"": np.ones(N, dtype=np.bool_)}, dataset="other:set")
    with pytest.raises(UsageError, match="is both base and candidate"):
        compared(tmp_path, "seed-0")
    with pytest.raises(UsageError, match=r"plain .* has no evaluated examples"):
        compared(tmp_path, "plain")
    with pytest.raises(UsageError, match="not evaluated on the same data set: other:set, shop"):
        compared(tmp_path, "other1")


def test_the_weights_that_are_meant_or_the_newest_are_listed(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path)
    passes = (("last", 90, False), ("early", 10, True))
    for place, (name, step, right) in enumerate(passes):  # the early ones are judged last
        add_examples(
            builder,
            [right] * 20,
            eval_id=name,
            checkpoint=name,
            step=step,
            written_at=START + timedelta(seconds=place),
        )
    builder.write()
    wanted = Hypothesis(
        name="whole",
        statement="Right",
        kind=Kind.SUBSET,
        base=DATASET,
        where="loss >= 0",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
    )
    store = Store.open(tmp_path)
    for checkpoint, value in ((None, 0.0), ("last", 0.0), ("early", 1.0)):
        (listed,) = hypotheses.list_hypotheses(store, store.runs(), [wanted], checkpoint)
        assert listed.value == value


def test_a_change_that_so_few_examples_cannot_show_is_not_foretold(tmp_path: Path) -> None:
    right = np.ones(N, dtype=np.bool_)
    for seed, name in enumerate(("seed-0", "candid")):
        write(tmp_path, name, {"": right & (np.arange(N) % 10 != seed)})
    few = Hypothesis(
        name="few",
        statement="Right",
        kind=Kind.SUBSET,
        base=DATASET,
        where="example_id < '00002'",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
    )
    found = compared(tmp_path, hypotheses=[few], rules=Rules(needs_seeds=False))
    drops = {result.hypothesis: result.detectable_drop for result in found.results}
    assert math.isnan(drops["few"])
    assert 0 < drops[""] < 1


@pytest.mark.parametrize(
    ("kind", "metric", "op", "allowed", "holds"),
    [
        (Kind.INVARIANCE, "accuracy", Op.NO_WORSE_THAN, 0.2, False),
        (Kind.INVARIANCE, "accuracy", Op.NO_WORSE_THAN, 0.35, True),
        (Kind.INVARIANCE, "accuracy", Op.UNCHANGED, 0.2, False),
        (Kind.INVARIANCE, "error", Op.NO_WORSE_THAN, 0.2, False),
        (Kind.INVARIANCE, "error", Op.UNCHANGED, 0.35, True),
        (Kind.DIRECTION, "accuracy", Op.NO_WORSE_THAN, 0.2, False),
        (Kind.DIRECTION, "error", Op.UNCHANGED, 0.35, True),
        (Kind.SUBSET, "accuracy", Op.NO_WORSE_THAN, 0.2, True),  # 0.68 against 0.8
        (Kind.INVARIANCE, "loss", Op.NO_WORSE_THAN, 0.2, False),  # 0.71 against 0.48
        (Kind.INVARIANCE, "loss", Op.NO_WORSE_THAN, 0.25, True),
        (Kind.MIN, "accuracy", Op.NO_WORSE_THAN, 0.2, None),
    ],
)
def test_a_share_of_kept_answers_is_held_against_all_of_them(
    tmp_path: Path, kind: Kind, metric: str, op: Op, allowed: float, *, holds: bool | None
) -> None:
    judged = {"": np.arange(N) % 10 < 8, "kept": np.arange(N) % 100 >= 32}  # 80 %, 68 %
    write(tmp_path, "seed-0", judged)
    wanted = Hypothesis(
        name="kept",
        statement="32 of 100 answers change",
        kind=kind,
        base=DATASET,
        expect=Expectation(metric=metric, op=op, value=allowed),
    )
    store = Store.open(tmp_path)
    (listed,) = hypotheses.list_hypotheses(store, store.runs(), [wanted])
    assert listed.holds is holds


def test_answers_to_another_data_set_are_not_those_to_its_own(tmp_path: Path) -> None:
    write(tmp_path, "seed-0", {"": np.ones(N, np.bool_), "kept": np.ones(N, np.bool_)})
    wanted = Hypothesis(
        name="kept",
        statement="Never evaluated",
        kind=Kind.INVARIANCE,
        base="shop.data:other",
        expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=0.9),
    )
    store = Store.open(tmp_path)
    (listed,) = hypotheses.list_hypotheses(store, store.runs(), [wanted])
    assert (listed.run, listed.holds) == (None, None)
