"""Configurations of a cross-validation: the planted better one wins, equal ones seldom differ."""

import math
from pathlib import Path

import numpy as np
import pytest
from folds import CV_ID, add_folds

from telemetry import Store
from telemetry.compare.statistics.intervals import Estimate
from telemetry.compare.terms import Direction
from telemetry.errors import Inconclusive, UsageError
from telemetry.evaluate.cross_validation import comparison as crossval
from telemetry.evaluate.cross_validation.comparison import Standing

BASE = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80, 0.83, 0.77, 0.81, 0.79]
BETTER = [value + 0.05 + 0.005 * (-1) ** i for i, value in enumerate(BASE)]
ALIKE = [value + 0.01 * (-1) ** i for i, value in enumerate(BASE)]


def compared(store: Path, **options: object) -> crossval.CrossValidation:
    return crossval.compare(Store.open(store), "latest", **options)  # type: ignore[arg-type]


def standings(found: crossval.CrossValidation) -> dict[str, Standing]:
    return {entry.configuration.title: entry.verdict for entry in found.configurations}


def test_the_better_configuration_wins(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 0.01}, BETTER, order=1)
    add_folds(tmp_path, {"lr": 0.03}, ALIKE, order=2)

    found = compared(tmp_path)

    assert standings(found) == {
        "lr=0.1": Standing.INCUMBENT,
        "lr=0.01": Standing.BETTER,
        "lr=0.03": Standing.NO_DIFFERENCE,
    }
    assert found.winner is not None
    assert found.winner.parameters == {"lr": 0.01}
    assert found.answer == "use lr=0.01: it is significantly better than lr=0.1"
    assert (found.metric, found.goal, found.n_folds) == ("accuracy", Direction.HIGHER, 10)
    best = found.configurations[1]
    assert best.difference == pytest.approx(0.05)
    differences = np.array(BETTER) - np.array(BASE)
    error = math.sqrt((1 / 10 + 20 / 80) * float(np.var(differences, ddof=1)))
    assert best.error == pytest.approx(error)
    expected = Estimate(difference=0.05, standard_error=error, df=9)
    assert (best.ci_low, best.ci_high) == pytest.approx(expected.interval())
    assert best.p == pytest.approx(min(1.0, 2 * 2 * expected.p_not_above(0.0)))  # Holm: two tests
    assert best.detectable == pytest.approx((best.ci_high - best.ci_low) / 2)
    assert found.is_decided


def test_the_incumbent_stays_when_none_is_clearly_better(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 0.03}, ALIKE, order=1)
    found = compared(tmp_path)
    assert found.answer.startswith("keep lr=0.1")
    other = compared(tmp_path, incumbent="lr=0.03")
    assert other.answer.startswith("keep lr=0.03")
    assert compared(tmp_path, goal=Direction.LOWER).goal is Direction.LOWER


def test_a_lost_fold_is_never_dropped(tmp_path: Path) -> None:
    nan_from_two = [1.0, 0.9] + [math.nan] * 8
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 9.0}, [0.99] * 7 + [None] * 3, order=1, losses=nan_from_two)

    found = compared(tmp_path)

    lost = found.configurations[1]
    assert (lost.n_lost, lost.mean, lost.mean_kept) == (3, -math.inf, pytest.approx(0.99))
    assert lost.verdict is Standing.INCONCLUSIVE  # three against none may be chance
    assert lost.reason == "lost 3 of 10 folds, the incumbent 0"
    assert found.winner is not None
    assert found.winner.parameters == {"lr": 0.1}
    assert found.notes == ("lr=9: diverged in 3 of 10 folds (non_finite from step 2)",)
    assert not found.is_decided


def test_losing_almost_every_fold_is_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossval, "findings_of", lambda *_: ())  # eight diagnoses take seconds
    add_folds(tmp_path, {"lr": 9.0}, [0.99] * 2 + [None] * 8, order=0)
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=1)
    found = compared(tmp_path)
    assert standings(found)["lr=0.1"] is Standing.BETTER
    assert found.answer == "use lr=0.1: it is the best of those that finished every fold"


def test_missing_folds_decide_nothing(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 0.01}, BETTER[:7], order=1)
    found = compared(tmp_path)
    assert found.configurations[1].reason.startswith("3 of 10 folds are missing")
    assert found.winner is not None
    assert found.winner.parameters == {"lr": 0.1}


def test_a_fold_that_was_scored_again_counts_as_last_scored(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 0.01}, [0.1] * 10, order=1)
    add_folds(tmp_path, {"lr": 0.01}, BETTER, order=2)
    assert compared(tmp_path).configurations[1].difference == pytest.approx(0.05)


def test_other_folds_cannot_be_paired(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    add_folds(tmp_path, {"lr": 0.01}, BETTER, order=1, digest="others")
    with pytest.raises(Inconclusive, match="scored on different folds"):
        compared(tmp_path)


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    add_folds(tmp_path, {"lr": 0.1}, BASE, order=0)
    with pytest.raises(Inconclusive, match=r"one configuration, lr=0\.1"):
        compared(tmp_path)
    add_folds(tmp_path, {"lr": 0.01}, BETTER, order=1)
    store = Store.open(tmp_path)
    assert crossval.compare(store, CV_ID[:5]).cv_id == CV_ID
    with pytest.raises(UsageError, match="cross-validation 'zzzz' matches 0"):
        crossval.compare(store, "zzzz")
    with pytest.raises(UsageError, match="no score 'acuracy'; did you mean accuracy"):
        crossval.compare(store, "latest", metric="acuracy")
    with pytest.raises(UsageError, match="'lr=5' matches 0 configurations"):
        crossval.compare(store, "latest", incumbent="lr=5")


def test_a_store_without_folds_says_so(tmp_path: Path) -> None:
    from synthetic import RunBuilder

    RunBuilder(store=tmp_path).losses([1.0]).write()
    with pytest.raises(UsageError, match="no cross-validation is stored"):
        compared(tmp_path)
