import math
from pathlib import Path

import pytest
from run_makers import builder

from telemetry.compare.sweep.configurations import configurations, number_of_folds
from telemetry.compare.sweep.result import SweepRun
from telemetry.compare.terms import Direction
from telemetry.errors import UsageError
from telemetry.json_values import Json
from telemetry.store.runs.catalog import load_run


def entry(
    store: Path,
    index: int,
    value: float | None,
    *,
    diverged: bool = False,
    tags: tuple[str, ...] = (),
    **config: Json,
) -> SweepRun:
    run = load_run(builder(store, index, config=config, tags=tags).write())
    return SweepRun(run=run, parameters=config, value=value, diverged=diverged)


def folded(store: Path, values: dict[float, list[float]]) -> list[SweepRun]:
    cells = [(lr, fold, v) for lr, row in values.items() for fold, v in enumerate(row)]
    return [entry(store, i, v, lr=lr, fold=fold) for i, (lr, fold, v) in enumerate(cells)]


def test_the_mean_over_folds_has_the_interval_of_nadeau_and_bengio(tmp_path: Path) -> None:
    (found,) = configurations(folded(tmp_path, {0.1: [1, 2, 3, 4, 5]}), Direction.LOWER)
    # s² = 2.5; variance (1/5 + 1/4) * 2.5 = 1.125; t of 4 degrees of freedom 2.776
    half = 2.7764451 * math.sqrt(1.125)
    assert (found.mean, found.folds, found.worst) == (3.0, 5, 5.0)
    assert found.ci_low == pytest.approx(3 - half)
    assert found.ci_high == pytest.approx(3 + half)
    assert found.parameters == {"lr": 0.1}
    assert len(found.runs) == 5


def test_the_best_comes_first_and_the_others_are_paired_with_it_by_fold(tmp_path: Path) -> None:
    values = {0.1: [1.0, 2.0, 6.0], 0.2: [1.5, 2.6, 6.4], 0.3: [9.0, 9.0, 9.0]}
    best, second, third = configurations(folded(tmp_path, values), Direction.LOWER)
    assert [c.parameters["lr"] for c in (best, second, third)] == [0.1, 0.2, 0.3]
    assert (best.behind, best.behind_low, best.behind_high) == (0.0, 0.0, 0.0)
    assert second.behind == pytest.approx(0.5)  # of 0.5, 0.6 and 0.4: the folds' own spread is out
    # s² = 0.01; variance (1/3 + 1/2) * 0.01; t of 2 degrees of freedom 4.303
    assert second.behind_low == pytest.approx(0.5 - 4.3026527 * math.sqrt(0.01 * 5 / 6))


def test_higher_is_better_where_the_goal_says_so(tmp_path: Path) -> None:
    values = {0.1: [0.7, 0.8], 0.2: [0.9, 0.9]}
    best, second = configurations(folded(tmp_path, values), Direction.HIGHER)
    assert (best.parameters["lr"], best.mean) == (0.2, pytest.approx(0.9))
    assert second.behind == pytest.approx(0.15)
    assert (second.worst, second.mean) == (0.7, pytest.approx(0.75))


def test_seeds_within_folds_are_more_values_of_the_same_folds(tmp_path: Path) -> None:
    entries = [
        entry(tmp_path, 10 * seed + fold, 1.0 + fold + 0.1 * seed, fold=fold, seed=seed, lr=0.1)
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    (found,) = configurations(entries, Direction.LOWER)
    assert (found.folds, len(found.runs), found.mean) == (2, 4, pytest.approx(1.55))


def test_missing_and_diverged_folds_are_named_and_cost(tmp_path: Path) -> None:
    entries = [
        *folded(tmp_path, {0.1: [1.0, 1.0, 1.0]}),
        entry(tmp_path, 20, 0.5, lr=0.2, fold=0),
        entry(tmp_path, 21, None, lr=0.2, fold=1),
        entry(tmp_path, 22, 0.1, lr=0.3, fold=0, diverged=True),
        entry(tmp_path, 23, None, lr=0.4, fold=0),
    ]
    lacking, whole, broken = configurations(entries, Direction.LOWER)
    assert (lacking.missing, lacking.folds) == (("1.0", "2.0"), 1)
    assert (whole.missing, whole.folds) == ((), 3)
    assert lacking.ci_high == math.inf
    assert broken.mean == math.inf


def test_the_number_of_folds_is_stated_or_counted() -> None:
    assert number_of_folds([{"fold": 0, "n_folds": 5}, {"fold": 1, "n_folds": 5}]) == 5
    assert number_of_folds([{"data": {"fold": "a"}}, {"data": {"fold": "b"}}]) == 2
    with pytest.raises(UsageError, match="the number of their fold, found 0"):
        number_of_folds([{"lr": 1}, {"lr": 2}])
    with pytest.raises(UsageError, match="found 1"):
        number_of_folds([{"fold": 3}])


@pytest.mark.parametrize("tag", ["nested", "holdout"])
def test_inner_folds_and_the_holdout_of_a_cross_validation_are_no_folds(
    tmp_path: Path, tag: str
) -> None:
    outer = folded(tmp_path, {0.1: [1.0, 2.0, 3.0], 0.2: [2.0, 3.0, 4.5]})
    others = [
        entry(tmp_path, 50 + i, 9.0 + i, tags=("cv=abc", tag), lr=0.1, seed=i) for i in range(4)
    ]
    assert configurations([*outer, *others], Direction.LOWER) == configurations(
        outer, Direction.LOWER
    )


def test_inner_folds_that_the_settings_name_are_not_pooled(tmp_path: Path) -> None:
    cells = [(outer, inner) for outer in (0, 1) for inner in (0, 1, 2)]
    inner = [
        entry(tmp_path, i, 9.0 + i, lr=0.1, outer_fold=place[0], inner_fold=place[1])
        for i, place in enumerate(cells)
    ]
    outer = [
        entry(tmp_path, 20 + i, 1.0 + i, lr=0.1, outer_fold=i, inner_folds=5) for i in range(2)
    ]
    (found,) = configurations([*inner, *outer], Direction.LOWER)
    assert (found.folds, found.mean, len(found.runs)) == (2, 1.5, 2)
    (of_one,) = configurations(inner[:3], Direction.LOWER)
    assert (of_one.folds, of_one.mean) == (3, 10.0)
    with pytest.raises(UsageError, match="inner folds of 2 outer folds"):
        configurations(inner, Direction.LOWER)
