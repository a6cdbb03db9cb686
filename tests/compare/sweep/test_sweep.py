import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from curve_makers import loss_curve
from run_makers import builder, rounded

from telemetry import json_values
from telemetry.compare import stored_findings
from telemetry.compare.sweep import forest
from telemetry.compare.sweep.sweep import sweep_runs
from telemetry.compare.terms import Direction
from telemetry.errors import Inconclusive, StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.json_values import Json
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

RATES = (0.001, 0.01, 0.1, 1.0)
WIDTHS = (32, 64, 128)
pytestmark = pytest.mark.usefixtures("_rank_correlation")
Roots = dict[str, frozenset[str] | StoreUnreadable]


@pytest.fixture
def _rank_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scikit-learn: a forest takes seconds; `test_forest.py` grows some."""
    monkeypatch.setattr(forest, "is_available", lambda: False)


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> Roots:
    """Root causes by run id that stand in for a diagnosis, none by default."""
    found: Roots = {}
    monkeypatch.setattr(
        stored_findings,
        "roots_of_runs",
        lambda _, runs, __: [(run, found.get(run.run, frozenset())) for run in runs],
    )
    return found


def recorded(
    store: Path,
    index: int,
    config: dict[str, Json],
    *,
    floor: float,
    dies: bool = False,
    evaluated: bool = True,
) -> Run:
    """A run of 80 steps that ends near `floor`, or in NaN."""
    built = builder(store, index, name=f"run-{index}", config=config)
    values = loss_curve(index, n=80, floor=floor, seed_noise=0.0, step_noise=0.005).values
    if dies:
        values = np.where(np.arange(80) >= 40, np.nan, values)
    built.losses(values.tolist())
    if evaluated:
        built.metric("val_loss", {s: float(values[s]) + 0.01 for s in range(7, 80, 8)})
    return load_run(built.write())


def grid(store: Path, *, dying: bool = True) -> list[Run]:
    """Twelve runs: the best learning rate is 0.01, wider is a little better, lr 1 dies."""
    configs: list[dict[str, Json]] = [
        {"lr": lr, "width": width, "epochs": 3} for lr in RATES for width in WIDTHS
    ]
    return [
        recorded(
            store,
            index,
            config,
            floor=0.4 + 0.3 * (np.log10(float(str(config["lr"]))) + 2) ** 2 - 0.05 * (index % 3),
            dies=dying and config["lr"] == 1.0,
        )
        for index, config in enumerate(configs)
    ]


@pytest.mark.usefixtures("roots")
def test_runs_are_ranked_best_first_and_the_dead_last(tmp_path: Path) -> None:
    runs = grid(tmp_path)
    found = sweep_runs(Store.open(tmp_path), runs)
    assert (found.metric, found.goal) == ("val_loss", Direction.LOWER)
    assert found.runs[0].parameters == {"lr": 0.01, "width": 128}
    values = [entry.value for entry in found.runs[:9]]
    assert values == sorted(values, key=lambda value: value or 0)
    assert [entry.diverged for entry in found.runs] == [False] * 9 + [True] * 3


@pytest.mark.usefixtures("roots")
def test_the_learning_rate_decides_and_its_best_region_is_named(tmp_path: Path) -> None:
    runs = grid(tmp_path)
    found = sweep_runs(Store.open(tmp_path), runs)
    first, second = found.parameters
    assert (first.name, first.important, first.best) == ("lr", True, "0.01")
    assert first.importance > 0.7
    assert first.ci_low <= first.importance <= first.ci_high
    assert [point.value for point in first.effect] == ["0.001", "0.01", "0.1", "1"]
    assert np.isnan(first.effect[3].median)
    assert second.name == "width"
    assert second.importance < first.importance
    assert found.warnings == ()


def test_failures_are_attributed_to_the_parameters(tmp_path: Path, roots: Roots) -> None:
    runs = grid(tmp_path)
    for run in runs:
        if run.config["lr"] == 1.0:
            roots[run.run] = frozenset({"learning_rate_too_high"})
    roots[runs[0].run] = frozenset({"update_ratio"})
    common, rare = sweep_runs(Store.open(tmp_path), runs).failures
    assert (common.detector, common.rule) == ("learning_rate_too_high", "lr >= 1")
    assert (common.matching_runs, common.rule_runs, common.failed_runs) == (3, 3, 3)
    assert (rare.detector, rare.rule, rare.failed_runs) == ("update_ratio", "", 1)


def test_a_rule_that_chance_gives_as_well_is_pointed_out(tmp_path: Path, roots: Roots) -> None:
    runs = grid(tmp_path)
    for run in runs[-2:]:
        roots[run.run] = frozenset({"non_finite"})
    found = sweep_runs(Store.open(tmp_path), runs)
    assert found.failures[0].rule == "lr >= 1"
    assert any("non_finite" in text and "chance of coincidence" in text for text in found.warnings)


def test_a_run_that_cannot_be_diagnosed_is_named_and_the_rest_is_shown(
    tmp_path: Path, roots: Roots
) -> None:
    runs = grid(tmp_path)
    roots[runs[3].run] = StoreUnreadable("the manifest is torn")
    found = sweep_runs(Store.open(tmp_path), runs)
    assert len(found.runs) == 12
    assert any("the manifest is torn" in text for text in found.warnings)


@pytest.mark.usefixtures("roots")
def test_the_metric_and_the_goal_can_be_stated(tmp_path: Path) -> None:
    runs = grid(tmp_path, dying=False)
    store = Store.open(tmp_path)
    by_loss = sweep_runs(store, runs, metric="loss")
    assert by_loss.metric == "loss"
    assert by_loss.runs[0].parameters["lr"] == 0.01
    upward = sweep_runs(store, runs, metric="val_loss", goal=Direction.HIGHER)
    assert upward.runs[0].parameters["lr"] == 1.0
    with pytest.raises(UsageError, match=r"no run recorded metric .*; recorded: val_loss, loss"):
        sweep_runs(store, runs, metric="val_los")


@pytest.mark.usefixtures("roots")
def test_an_accuracy_is_maximised_and_the_training_loss_is_the_last_resort(tmp_path: Path) -> None:
    runs = []
    for index in range(4):
        built = builder(tmp_path, index, config={"lr": 0.1 * index}).losses([1.0 + index] * 30)
        runs.append(load_run(built.metric("val_accuracy", {9: 0.5, 29: 0.1 * index}).write()))
    found = sweep_runs(Store.open(tmp_path), runs)
    assert (found.metric, found.goal) == ("val_accuracy", Direction.HIGHER)
    assert [entry.value for entry in found.runs] == [0.5, 0.5, 0.5, 0.5]
    rare = [
        recorded(tmp_path, 10 + i, {"lr": i}, floor=0.5 + i, evaluated=i == 0) for i in range(4)
    ]
    by_loss = sweep_runs(Store.open(tmp_path), rare)
    assert (by_loss.metric, by_loss.of_training, found.of_training) == ("loss", True, False)
    assert by_loss.warnings[0].startswith(
        "the runs are ranked by loss, which was measured in training and"
    )
    unevaluated = sweep_runs(Store.open(tmp_path), rare[1:])
    assert "no validation metric was recorded" in unevaluated.warnings[0]


@pytest.mark.usefixtures("roots")
def test_a_metric_logged_as_loss_is_found_where_steps_have_none(tmp_path: Path) -> None:
    runs = []
    for index in range(2):
        built = builder(tmp_path, index, config={"lr": index}).metric("loss", {5: 1.0 + index})
        built.add("steps", step=5, flags=0)
        runs.append(load_run(built.write()))
    assert [e.value for e in sweep_runs(Store.open(tmp_path), runs).runs] == [1.0, 2.0]


@pytest.mark.usefixtures("roots")
def test_runs_without_the_metric_come_last_and_are_named(tmp_path: Path) -> None:
    runs = grid(tmp_path, dying=False)
    runs.append(recorded(tmp_path, 50, {"lr": 0.5}, floor=0.1, evaluated=False))
    found = sweep_runs(Store.open(tmp_path), runs)
    assert (found.runs[-1].run.run, found.runs[-1].value) == (runs[-1].run, None)
    assert any("missing in r00050" in text for text in found.warnings)


@pytest.mark.usefixtures("roots")
def test_repeated_configurations_give_the_noise_of_seeds(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, index, {"lr": lr, "seed": seed}, floor=0.5 + lr + 0.1 * seed)
        for index, (lr, seed) in enumerate((lr, seed) for lr in (0.1, 0.2) for seed in (0, 1, 2))
    ]
    found = sweep_runs(Store.open(tmp_path), runs)
    assert found.seed_noise == pytest.approx(0.1, rel=0.2)
    assert [entry.name for entry in found.parameters] == ["lr"]
    assert set(found.runs[0].parameters) == {"lr", "seed"}


def test_bad_ends_that_no_detector_explains_are_failures_too(tmp_path: Path, roots: Roots) -> None:
    runs = grid(tmp_path)
    roots[runs[-1].run] = frozenset({"learning_rate_too_high"})
    built = builder(tmp_path, 40, config={"lr": 0.5, "width": 64}).losses([1.0] * 30)
    runs.append(load_run(built.write(status=Status.FAILED)))
    found = {one.detector: one for one in sweep_runs(Store.open(tmp_path), runs).failures}
    assert found["diverged"].failed_runs == 2
    assert (found["failed"].failed_runs, found["failed"].rule) == (1, "")
    assert found["learning_rate_too_high"].failed_runs == 1


@pytest.mark.usefixtures("roots")
def test_a_pruned_run_is_named_and_compared_at_the_step_it_reached(tmp_path: Path) -> None:
    runs = []
    for index in range(10):
        built = builder(tmp_path, index, config={"lr": 0.1 * (index + 1)}).losses([1.0] * 40)
        built.tags = ("pruned",) if index == 9 else ()
        last = 10 if index == 9 else 40
        values = {step: 9.0 + index / 10 - step / 10 for step in range(1, last, 2)}
        runs.append(load_run(built.metric("val_loss", values).write()))
    found = sweep_runs(Store.open(tmp_path), runs)
    assert [entry.cut_short for entry in found.runs].count(True) == 1
    assert any(text.startswith("stopped early: r00009") for text in found.warnings)


@pytest.mark.usefixtures("roots")
def test_time_size_and_metric_make_the_front(tmp_path: Path) -> None:
    runs = []
    for index, (n_units, value) in enumerate([(8, 0.5), (4, 0.6), (8, 0.7)]):
        built = builder(tmp_path, index, config={"units": n_units, "x": index})
        built.losses([1.0] * 5).metric("val_loss", {4: value})
        built.parameter("net.weight", shape=(n_units, 2), depth=0)
        runs.append(load_run(built.write()))
    found = sweep_runs(Store.open(tmp_path), runs)
    assert [entry.n_parameters for entry in found.front] == [16, 8]
    assert [entry.value for entry in found.front] == [0.5, 0.6]
    assert found.front[0].seconds == 60.0


@pytest.mark.usefixtures("roots")
def test_folds_are_averaged_on_request_and_mentioned_otherwise(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, 5 * i + fold, {"lr": lr, "fold": fold}, floor=0.5 + lr)
        for i, lr in enumerate((0.1, 0.2))
        for fold in range(5)
    ]
    store = Store.open(tmp_path)
    plain, folded = sweep_runs(store, runs), sweep_runs(store, runs, folds=True)
    assert plain.configurations == ()
    assert any("--folds averages" in text for text in plain.warnings)
    assert [one.parameters["lr"] for one in folded.configurations] == [0.1, 0.2]
    assert not any("fold" in text for text in folded.warnings)
    with pytest.raises(UsageError, match="--folds needs runs"):
        sweep_runs(store, [runs[0], runs[5]], folds=True)


@pytest.mark.usefixtures("roots")
def test_too_few_runs_confounded_parameters_and_open_runs_are_warned_of(tmp_path: Path) -> None:
    runs = [
        recorded(tmp_path, i, {"lr": 0.1 * i, "batch": 2**i, "x": i % 2}, floor=0.5 + 0.1 * i)
        for i in range(6)
    ]
    built = builder(tmp_path, 9, config={"lr": 0.9, "batch": 512, "x": 1}).losses([1.0] * 30)
    built.metric("val_loss", {29: 2.0})
    runs.append(load_run(built.write(status=Status.KILLED)))
    warnings = " ".join(sweep_runs(Store.open(tmp_path), runs).warnings)
    assert "7 runs are too few to estimate the importance of 3 parameters; about 12" in warnings
    assert "batch and lr vary together" in warnings
    same = [recorded(tmp_path, 20 + i, {"lr": 0.1}, floor=0.5) for i in range(3)]
    assert "no parameter differs" in " ".join(sweep_runs(Store.open(tmp_path), same).warnings)


@pytest.mark.usefixtures("roots")
def test_curves_that_still_cross_are_warned_of(tmp_path: Path) -> None:
    runs = []
    for index in range(6):
        built = builder(tmp_path, index, config={"lr": 0.1 * index}).losses([1.0] * 40)
        slope = 0.01 * index
        values = {s: 1.0 + slope * 20 - slope * s for s in range(0, 40, 2)}
        runs.append(load_run(built.metric("val_loss", values).write()))
    settled = sweep_runs(Store.open(tmp_path), runs).warnings
    assert not any("order still changes" in text for text in settled)
    crossing = []
    for index in range(6):
        built = builder(tmp_path, 10 + index, config={"lr": 0.1 * index}).losses([1.0] * 40)
        values = {s: 1.0 - 0.1 * index if s < 34 else 0.1 * index for s in range(0, 40, 2)}
        crossing.append(load_run(built.metric("val_loss", values).write()))
    found = sweep_runs(Store.open(tmp_path), crossing).warnings
    assert any("order still changes" in text for text in found)


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    runs = [load_run(builder(tmp_path, i, config={"lr": i}).write()) for i in range(2)]
    store = Store.open(tmp_path)
    with pytest.raises(UsageError, match="at least two runs, found 1"):
        sweep_runs(store, [runs[0], runs[0]])
    with pytest.raises(Inconclusive, match="neither a loss nor an evaluation"):
        sweep_runs(store, runs)


def test_the_json_is_stable_and_fits_its_schema(
    tmp_path: Path, golden: Callable[[str, str], None], roots: Roots
) -> None:
    runs = grid(tmp_path)
    for run in runs[-3:]:
        roots[run.run] = frozenset({"non_finite"})
    document = json.loads(json_values.dumps(sweep_runs(Store.open(tmp_path), runs).to_json()))
    schema = json.loads((resources.files("telemetry.schemas.json") / "sweep.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    golden("compare/sweep.json", json.dumps(rounded(document), indent=1) + "\n")


@pytest.mark.usefixtures("roots")
def test_runs_of_which_the_seed_alone_is_told_are_seeds_and_others_are_not(tmp_path: Path) -> None:
    seeds = [recorded(tmp_path, i, {"seed": i}, floor=0.5 + 0.1 * i) for i in range(3)]
    noise = sweep_runs(Store.open(tmp_path), seeds).seed_noise
    assert noise == pytest.approx(0.1, rel=0.2)
    untold = [recorded(tmp_path, 10 + i, {}, floor=0.5 + 0.1 * i) for i in range(3)]
    assert sweep_runs(Store.open(tmp_path), untold).seed_noise is None
    assert sweep_runs(Store.open(tmp_path), [*seeds, *untold]).seed_noise == noise


@pytest.mark.usefixtures("roots")
def test_inner_folds_and_a_holdout_take_no_part_beside_outer_folds(tmp_path: Path) -> None:
    def run(index: int, config: dict[str, Json], floor: float, *tags: str) -> Run:
        built = builder(tmp_path, index, config=config, tags=("cv=abc", *tags))
        return load_run(built.losses([floor] * 10).metric("val_loss", {9: floor}).write())

    outer = [run(i, {"lr": 0.1, "fold": i, "seed": i}, 1.0 + 0.1 * i) for i in range(3)]
    inner = [run(10 + i, {"lr": 0.1, "seed": 9 + i}, 5.0 + i, "nested") for i in range(6)]
    final = run(20, {"lr": 0.1, "seed": 40}, 0.1, "holdout")
    alone = sweep_runs(Store.open(tmp_path), outer, folds=True)
    found = sweep_runs(Store.open(tmp_path), [*outer, *inner, final], folds=True)
    assert [one.mean for one in found.configurations] == [pytest.approx(1.1)]
    assert [entry.run.run for entry in found.runs[:3]] == [one.run for one in outer]
    assert found.seed_noise == alone.seed_noise == pytest.approx(0.1)
    assert any(
        told.startswith("7 runs are of inner folds or of a holdout") for told in found.warnings
    )
