"""Cross-validation: the planted better configuration wins, lost folds count, nothing runs twice."""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import fold_trainings
import numpy as np
import pytest
import torch
from torch import nn

from telemetry import Store, explain
from telemetry.errors import StoreUnreadable, TrainingStopped, UsageError
from telemetry.evaluate.cross_validation import comparison as crossval
from telemetry.evaluate.cross_validation.comparison import Standing
from telemetry.explain.folds.cross_validation import CrossValidated
from telemetry.explain.folds.training import FoldCallback, seeded
from telemetry.finding import Finding

pytestmark = pytest.mark.torch


@pytest.fixture
def validate(tmp_path: Path) -> Callable[..., CrossValidated]:
    """`validate(function, params, ...)`: three folds, once, of six examples."""

    def call(function: object, params: Mapping[str, object], **options: object) -> CrossValidated:
        given = {"n": 6, "folds": 3, "repeats": 1, "store": tmp_path, **options}
        return explain.cross_validate(function, params, **given)  # type: ignore[arg-type]

    return call


def statuses(found: CrossValidated) -> list[list[str]]:
    return [[score.status for score in entry.scores] for entry in found.configurations]


def test_the_planted_better_configuration_wins(tmp_path: Path) -> None:
    found = explain.cross_validate(
        fold_trainings.logistic,
        {"lr": [1e-6, 0.5]},
        labels=fold_trainings.class_labels(),
        folds=3,
        repeats=1,
        store=tmp_path,
    )
    compared = crossval.compare(Store.open(tmp_path), found.cv_id)
    assert compared.metric == "accuracy"
    assert [entry.configuration.parameters for entry in compared.configurations] == [
        {"lr": 1e-6},  # the first of the grid is the incumbent
        {"lr": 0.5},
    ]
    assert compared.winner is not None
    assert compared.winner.parameters == {"lr": 0.5}
    assert compared.configurations[1].verdict is Standing.BETTER


def test_each_fold_is_a_run_that_says_which(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    found = validate(fold_trainings.instant, {"gain": [1]}, fixed={"epochs": 2}, seed=9)
    runs = Store.open(tmp_path).runs()
    assert len(runs) == 3
    config_id = found.configurations[0].config_id
    assert {run.tags for run in runs} == {(f"cv={found.cv_id}", f"config={config_id}")}
    configs = sorted((dict(run.config) for run in runs), key=lambda config: str(config["fold"]))
    assert configs == [
        {"epochs": 2, "gain": 1, "fold": i, "repeat": 0, "seed": 9 + i} for i in range(3)
    ]
    assert {score.metric for score in found.configurations[0].scores} == {"score"}


def test_every_configuration_has_the_same_folds_and_seeds(
    validate: Callable[..., CrossValidated],
) -> None:
    seen: dict[object, list[tuple[object, ...]]] = {}

    def watched(
        params: dict[str, object],
        train_idx: object,
        test_idx: object,
        seed: int,
        _callback: FoldCallback,
    ) -> float:
        drawn = (random.random(), float(torch.rand(())), np.random.rand())  # noqa: S311, NPY002
        seen.setdefault(params["a"], []).append((str(train_idx), str(test_idx), seed, *drawn))
        params.clear()  # a copy: what the function does with it stays its own
        return 1.0

    validate(watched, {"a": [1, 2]})
    assert seen[1] == seen[2]
    assert [len(set(column)) for column in zip(*seen[1], strict=True)] == [3] * 6


def test_a_diverged_fold_is_counted_and_never_dropped(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    params = {"lr": [0.5], "poison": [None, 1]}
    labels = fold_trainings.LABELS
    found = validate(fold_trainings.logistic, params, n=None, labels=labels)
    assert statuses(found) == [["ok"] * 3, ["ok", "diverged", "ok"]]
    assert set(found.errors.values()) == {"the last loss is not finite"}
    compared = crossval.compare(Store.open(tmp_path), found.cv_id)
    lost = compared.configurations[1]
    assert (lost.n_folds, lost.n_lost, lost.mean) == (3, 1, float("-inf"))
    assert "diverged in 1 of 3 folds" in compared.notes[0]


def test_a_score_that_is_no_number_or_a_stopped_training_has_diverged(
    validate: Callable[..., CrossValidated],
) -> None:
    def strange(
        params: dict[str, object], _train: object, _test: object, _seed: int, callback: FoldCallback
    ) -> float:
        if params["how"] == "nan":
            return float("nan")
        callback(nn.Linear(1, 1), None)
        raise TrainingStopped(Finding.__new__(Finding), "exploding_gradient: stop")

    found = validate(strange, {"how": ["nan", "stop"]})
    assert statuses(found) == [["diverged"] * 3] * 2
    assert set(found.errors.values()) == {"score is nan", "exploding_gradient: stop"}


def test_a_failed_fold_is_counted_and_only_it_is_trained_again(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    first = validate(fold_trainings.instant, {"gain": [0, 1]}, fixed={"raises_at": 1})
    assert statuses(first) == [["ok", "failed", "ok"]] * 2
    assert set(first.errors.values()) == {"RuntimeError: no such disk (fold_trainings.py:59)"}
    assert crossval.compare(Store.open(tmp_path), first.cv_id).configurations[0].n_lost == 1

    again = validate(fold_trainings.instant, {"gain": [0, 1]}, fixed={"raises_at": 1})
    assert (again.cv_id, again.n_trained, again.n_kept) == (first.cv_id, 2, 4)
    assert statuses(again) == statuses(first)
    assert len(Store.open(tmp_path).runs()) == 8


def test_a_grid_is_extended_on_the_same_folds(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    first = validate(fold_trainings.instant, {"gain": [1]})
    wider = validate(fold_trainings.instant, {"gain": [0, 1, 2]})
    assert (wider.cv_id, wider.n_trained, wider.n_kept) == (first.cv_id, 6, 3)
    compared = crossval.compare(Store.open(tmp_path), "latest", metric="score")
    assert compared.configurations[0].configuration.parameters == {"gain": 1}  # scored first
    assert validate(fold_trainings.instant, {"gain": [0, 1, 2]}, jobs=2).n_trained == 0


def test_folds_that_fail_before_a_score_has_a_name_get_that_name(
    validate: Callable[..., CrossValidated],
) -> None:
    def late(
        _params: dict[str, object], _train: object, _test: object, seed: int, _callback: object
    ) -> dict[str, float]:
        if seed == 0:
            raise ValueError("too early")
        return {"accuracy": 0.5, "loss": 1.0} if seed == 1 else {"accuracy": 0.5}

    found = validate(late, {"a": [1]})
    scores = found.configurations[0].scores
    assert {score.metric for score in scores} == {"accuracy", "loss"}
    assert [score.status for score in scores] == ["failed"] * 2 + ["ok"] * 2 + ["failed"] * 2
    assert "it returned accuracy, other folds accuracy, loss" in found.errors.values()


def test_ctrl_c_keeps_what_was_trained(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    def impatient(
        _params: object, _train: object, _test: object, seed: int, _callback: object
    ) -> float:
        if seed == 2 and not (tmp_path / "calm").exists():
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        validate(impatient, {"a": [1]})
    (tmp_path / "calm").touch()
    assert (found := validate(impatient, {"a": [1]})).n_trained == 1
    assert statuses(found) == [["ok"] * 3]


def of_two_scores(params: dict[str, int], *_: object) -> dict[str, float]:
    return {"accuracy": params["gain"] / 8, "loss": params["gain"] + 0.5}


def test_the_winner_alone_is_scored_once_on_what_no_fold_has(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    words: dict[str, object] = {"n": 20, "holdout": 0.2, "seed": 3}
    found = validate(fold_trainings.instant, {"gain": [1, 4]}, **words)
    assert found.holdout is not None
    (score,) = found.holdout.scores
    assert found.holdout.parameters == {"gain": 4}
    assert (score.n_train, score.n_test, score.value) == (16, 4, 4.0)  # of seed 6: no luck
    runs = [run for run in Store.open(tmp_path).runs() if "holdout" in run.tags]
    assert [run.tags for run in runs] == [
        (f"cv={found.cv_id}", f"config={found.holdout.config_id}", "holdout")
    ]
    assert dict(runs[0].config) == {"gain": 4, "seed": 6}

    compared = crossval.compare(Store.open(tmp_path), found.cv_id)
    assert compared.holdout is not None
    assert (compared.holdout.run.run, compared.n_folds) == (runs[0].run, 3)  # it is no fold
    again = validate(fold_trainings.instant, {"gain": [1, 4]}, **words)
    assert (again.n_trained, len(Store.open(tmp_path).runs())) == (0, 7)
    assert again.holdout == found.holdout


def test_inner_folds_are_runs_that_are_trained_once_and_join_what_is_there(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    words: dict[str, object] = {"n": 12, "seed": 3}
    plain = validate(fold_trainings.instant, {"gain": [1, 4]}, **words)
    assert plain.nested is None
    found = validate(fold_trainings.instant, {"gain": [1, 4]}, nested=2, **words)
    assert (found.cv_id, found.n_trained, found.n_kept) == (plain.cv_id, 12, 6)
    assert found.nested is not None
    chosen = [choice.configuration for choice in found.nested.choices]
    assert [one and one.parameters for one in chosen] == [{"gain": 4}] * 3
    assert found.nested.mean == pytest.approx(4 + 0.01 + 2 * 0.008 / 3)  # luck of the seeds 3, 4, 5
    assert [len(entry.scores) for entry in found.configurations] == [3, 3]

    runs = [run for run in Store.open(tmp_path).runs() if "nested" in run.tags]
    assert {run.tags[:1] for run in runs} == {(f"cv={found.cv_id}",)}
    assert sorted({run.config["seed"] for run in runs}) == [7, 8, 9, 10, 11, 12]
    assert not any("fold" in run.config for run in runs)  # `sweep --folds` pairs by it

    compared = crossval.compare(Store.open(tmp_path), found.cv_id)
    assert (compared.n_folds, compared.nested) == (3, found.nested)
    again = validate(fold_trainings.instant, {"gain": [1, 4]}, nested=2, **words)
    assert (again.n_trained, again.n_kept, again.nested) == (0, 18, found.nested)


def test_the_holdout_is_of_the_score_that_is_named(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    words: dict[str, object] = {"n": 20, "holdout": 0.2}
    found = validate(of_two_scores, {"gain": [1, 4]}, **words)
    assert found.holdout is None
    assert found.notes == (
        "the folds have several scores; choose the winner with --metric: accuracy, loss",
    )
    with pytest.raises(UsageError, match="no score 'acuracy'"):
        validate(of_two_scores, {"gain": [1, 4]}, metric="acuracy", **words)
    by_loss = validate(of_two_scores, {"gain": [1, 4]}, metric="loss", **words)
    assert by_loss.holdout is not None
    assert by_loss.holdout.parameters == {"gain": 1}
    other = crossval.compare(Store.open(tmp_path), found.cv_id, metric="accuracy")
    assert (other.has_holdout, other.holdout) == (True, None)  # another was scored there


def test_the_holdout_waits_for_folds_that_failed(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    def weak(
        params: dict[str, float], _train: object, _test: object, seed: int, _callback: object
    ) -> float:
        if seed == 1 and not (tmp_path / "mended").exists():
            raise RuntimeError("no such disk")
        return params["gain"]

    words: dict[str, object] = {"n": 20, "holdout": 0.2}
    first = validate(weak, {"gain": [1, 4]}, **words)
    assert first.holdout is None
    assert first.notes == ("the holdout is scored once the 2 failed folds are trained",)
    (tmp_path / "mended").touch()
    assert validate(weak, {"gain": [1, 4]}, **words).holdout is not None


@pytest.mark.slow
def test_processes_share_the_folds_and_one_that_dies_costs_its_fold_alone(
    validate: Callable[..., CrossValidated], tmp_path: Path
) -> None:
    fixed = {"dies_at": 1}
    found = validate(fold_trainings.instant, {"gain": [0, 1]}, fixed=fixed, jobs=2)
    assert statuses(found) == [["ok", "failed", "ok"]] * 2
    assert set(found.errors.values()) == {"its process ended with exit code 7"}
    assert len(Store.open(tmp_path).runs()) == 6  # the score lies in the run that the dead one left
    alone = validate(fold_trainings.instant, {"gain": [0, 1]}, fixed={"dies_at": 99})
    kept = [[s.value for s in entry.scores if s.status == "ok"] for entry in found.configurations]
    assert kept == [
        [entry.scores[0].value, entry.scores[2].value] for entry in alone.configurations
    ]


@pytest.mark.slow
def test_processes_that_cannot_import_the_training_are_told_at_once(
    validate: Callable[..., CrossValidated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "unguarded.py").write_text(
        "import multiprocessing\n"
        "assert multiprocessing.current_process().name == 'MainProcess', 'trains on import'\n"
        "def fit(params, train_idx, test_idx, seed, callback): return 1.0\n"
    )
    monkeypatch.syspath_prepend(folder)
    import unguarded  # type: ignore[import-not-found] - just written

    with pytest.raises(UsageError, match=r"ended with exit code 1 before it began\. .*__main__"):
        validate(unguarded.fit, {"a": [1]}, jobs=2)


def test_the_generators_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)[1]
    torch.manual_seed(5)
    torch.rand(1)
    with seeded(3):
        torch.rand(7)
    assert torch.rand(1) == expected


def returns_a_text(*_arguments: object) -> str:
    return "good"


def exits(*_arguments: object) -> float:
    sys.exit(4)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (returns_a_text, "TypeError: train_and_score returned str; return a number, or a dict of"),
        (exits, "SystemExit: 4"),
    ],
)
def test_what_is_no_score_is_told(
    validate: Callable[..., CrossValidated], function: object, told: str
) -> None:
    found = validate(function, {"a": [1]})
    assert statuses(found) == [["failed"] * 3]
    assert all(error.startswith(told) for error in found.errors.values())


@pytest.mark.parametrize(
    ("function", "options", "complaint"),
    [
        (fold_trainings.NOT_A_FUNCTION, {}, "3 cannot be called"),
        (fold_trainings.of_two_arguments, {}, "of_two_arguments does not fit train_and_score"),
        (fold_trainings.instant, {"params": {"gain": 1}}, "params.gain is 1"),
        (fold_trainings.instant, {"jobs": 0}, "jobs=0: at least one"),
        (fold_trainings.instant, {"n": 2}, "2 examples cannot be split into 3 folds"),
        (fold_trainings.instant, {"labels": [[1]] * 6}, "one number or text for each example"),
        (lambda *_: 1.0, {"jobs": 2}, "define it in a module"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    validate: Callable[..., CrossValidated],
    tmp_path: Path,
    function: object,
    options: dict[str, object],
    complaint: str,
) -> None:
    params = options.pop("params", {"gain": [1]})
    with pytest.raises(UsageError) as caught:
        validate(function, params, **options)  # type: ignore[arg-type]
    assert complaint in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_recording_that_is_off_is_refused(
    validate: Callable[..., CrossValidated], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    with pytest.raises(UsageError, match="unset TELEMETRY_DISABLED"):
        validate(fold_trainings.instant, {"gain": [1]})


def test_a_store_that_cannot_be_made_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnreadable, match="cannot be created"):
        explain.cross_validate(exits, {"a": [1]}, n=6, store=tmp_path / "file" / "store")
