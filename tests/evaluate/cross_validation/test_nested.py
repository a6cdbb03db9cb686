"""The score of a choice: the winner of the folds is too good, what chooses without them is not."""

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from synthetic import START

from telemetry.compare.statistics.student import t_quantile
from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.nested import nested_score
from telemetry.evaluate.cross_validation.nested_result import Nested
from telemetry.evaluate.cross_validation.scores import FoldScore, configurations
from telemetry.evaluate.cross_validation.verdicts import choose
from telemetry.explain.folds.folds import Fold, make_folds
from telemetry.format.manifest import Status
from telemetry.format.runs import RunRef
from telemetry.store.runs.run import Run

pytestmark = pytest.mark.torch  # folds are made by scikit-learn, of the same extra
RUN = Run(ref=RunRef(project="p", run="r", path=Path()), manifest=None, status=Status.FINISHED)
N, N_EQUAL, N_DRAWS, TRUTH = 60, 20, 12, 0.7


def score(name: int, fold: Fold, value: float, *, at: datetime = START) -> FoldScore:
    return FoldScore(
        run=RUN,
        cv_id="memory",
        config_id=str(name),
        parameters={"x": name},
        place=fold.place,
        fold_digest="",
        n_train=len(fold.train_idx),
        n_test=len(fold.test_idx),
        metric="accuracy",
        value=value,
        status="ok" if math.isfinite(value) else "diverged",
        is_holdout=False,
        written_at=at,
        inner=fold.inner,
    )


def test_of_equal_configurations_the_winner_is_too_good_and_the_choice_is_not() -> None:
    """One poor configuration that is used, and 20 that are right on 70 % of whatever examples."""
    winners, choices, covered = [], [], 0
    for seed in range(N_DRAWS):
        parted = make_folds(n=N, folds=5, repeats=1, seed=seed, nested=3)
        rates = np.array([0.3, *([TRUTH] * N_EQUAL)])
        right = np.random.default_rng(seed).random((len(rates), N)) < rates[:, None]
        scores = [
            score(name, fold, float(right[name, fold.test_idx].mean()))
            for fold in (*parted.folds, *parted.inner)
            for name in range(len(rates))
        ]
        outer = [one for one in scores if one.is_of_fold]
        best = choose(outer)
        found = nested_score(scores, Direction.HIGHER)
        assert best is not None
        assert found is not None
        winners.append(np.mean([one.value for one in best.folds.values()]))
        choices.append(found.mean)
        covered += found.ci_low <= TRUTH <= found.ci_high
    assert np.mean(winners) > TRUTH + 0.06  # 1.87 standard errors of 60 examples are 0.11
    assert np.mean(choices) == pytest.approx(TRUTH, abs=0.04)  # the error of 12 draws is 0.017
    assert covered >= N_DRAWS - 2


OUTER = (0.9, 0.5, 0.6)  # of configuration 1; 0.1 less of configuration 0


@pytest.fixture
def scores() -> list[FoldScore]:
    """Three folds, two inner ones of each; 1 wins inside the first two, 0 inside the last."""
    parted = make_folds(n=12, folds=3, repeats=1, nested=2)
    found = [
        score(name, fold, value - 0.1 * (name == 0))
        for fold, value in zip(parted.folds, OUTER, strict=True)
        for name in (0, 1)
    ]
    for fold in parted.inner:
        inner, _ = fold.inner or (0, 0)
        better = 1 if fold.fold < 2 else 0
        found += [score(n, fold, 0.5 + 0.01 * inner + 0.3 * (n == better)) for n in (0, 1)]
    return found


def judged(scores: list[FoldScore]) -> Nested:
    found = nested_score(scores, Direction.HIGHER)
    assert found is not None
    return found


def test_each_fold_judges_what_its_inner_folds_chose(scores: list[FoldScore]) -> None:
    found = judged(scores)
    chosen = [c.configuration.config_id for c in found.choices if c.configuration]
    assert chosen == ["1", "1", "0"]
    values = [0.9, 0.5, 0.5]  # the last is that of configuration 0
    assert [choice.value for choice in found.choices] == pytest.approx(values)
    error = math.sqrt((1 / 3 + 4 / 8) * float(np.var(values, ddof=1)))
    mean, half = sum(values) / 3, t_quantile(0.975, 2) * error
    assert (found.mean, found.ci_low) == pytest.approx((mean, mean - half))
    assert found.answer.startswith(
        f"choosing this way scores accuracy {mean:.4g} (95 % {mean - half:.4g} .. "
    )
    assert found.answer.endswith(
        "on unseen examples: each of 3 folds tests the configuration that 2 inner folds of its "
        "training examples chose, x=1 2 times, x=0 once"
    )


def test_a_missing_training_is_told_and_nothing_is_judged_by_the_rest(
    scores: list[FoldScore],
) -> None:
    found = judged(scores[:-2])
    assert (found.n_missing, found.choices) == (2, ())
    assert found.answer == (
        "2 trainings in inner folds are missing; `telemetry cv run --nested 2` trains them"
    )
    assert nested_score([s for s in scores if s.is_of_fold], Direction.HIGHER) is None


def test_a_choice_that_diverged_counts_and_is_never_dropped(scores: list[FoldScore]) -> None:
    lost = [
        replace(one, value=math.nan, status="diverged")
        if one.is_of_fold and one.config_id == "1" and one.place == (0, 0)
        else one
        for one in scores
    ]
    found = judged(lost)
    assert (found.n_lost, found.mean) == (1, -math.inf)
    assert math.isnan(found.ci_low)
    assert "failed in 1 of 3 folds" in found.answer


def test_what_diverged_in_an_inner_fold_is_not_chosen(scores: list[FoldScore]) -> None:
    lost = [
        replace(one, value=math.nan, status="diverged")
        if one.inner == (1, 2) and one.config_id == "1"
        else one
        for one in scores
    ]
    assert [c.configuration and c.configuration.config_id for c in judged(lost).choices] == [
        "0"
    ] * 3
    none = [replace(one, value=math.nan) if one.inner == (1, 2) else one for one in scores]
    assert judged(none).n_lost == 3


def test_inner_folds_are_no_folds_of_a_comparison(scores: list[FoldScore]) -> None:
    found = configurations(scores)
    assert [sorted(entry.folds) for entry in found] == [[(0, 0), (0, 1), (0, 2)]] * 2
    assert found[1].values([(0, 0), (0, 1), (0, 2)]) == list(OUTER)
