import json
import math
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from run_makers import N_STEPS, builder, rounded, trained

from telemetry import json_values
from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import Direction, DivergenceKind, Verdict
from telemetry.diagnose.finding import Finding, Severity
from telemetry.errors import Inconclusive, UsageError
from telemetry.format.manifest import Status
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store


def diverging(step: int, value: float) -> float:
    return math.nan if step >= N_STEPS // 2 else value


def compared(store: Path, base: Run | Sequence[Run], candidate: Run | Sequence[Run]) -> Diff:
    return diff_runs(Store.open(store), base, candidate)


@pytest.mark.usefixtures("undiagnosed")
def test_a_planted_regression_is_found_in_groups_of_three(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    worse = [trained(tmp_path, 3 + i, shift=0.15, config={"lr": 0.4}) for i in range(3)]
    found = compared(tmp_path, base, worse)
    assert found.verdict is Verdict.REGRESSION
    deciding = found.metrics[0]
    assert (deciding.name, deciding.direction) == ("val_loss", Direction.LOWER)
    assert 0.01 < deciding.ci_low < deciding.change < deciding.ci_high
    assert (deciding.n_base, deciding.n_candidate, deciding.step) == (3, 3, N_STEPS - 1)
    assert deciding.best.base <= deciding.base
    assert "worse" in found.reason
    assert [metric.name for metric in found.metrics] == ["val_loss", "val_accuracy", "loss"]
    assert [change.key for change in found.config] == ["lr"]
    assert compared(tmp_path, worse, base).verdict is Verdict.IMPROVEMENT


@pytest.mark.usefixtures("undiagnosed")
def test_healthy_groups_of_other_seeds_are_no_regression(tmp_path: Path) -> None:
    runs = [trained(tmp_path, i) for i in range(6)]
    found = compared(tmp_path, runs[:3], runs[3:])
    assert found.verdict in {Verdict.NO_CHANGE, Verdict.INCONCLUSIVE}
    assert found.first_divergence.kind is DivergenceKind.INITIAL_WEIGHTS


@pytest.mark.usefixtures("undiagnosed")
def test_one_run_against_one_says_what_would_settle_it(tmp_path: Path) -> None:
    found = compared(tmp_path, trained(tmp_path, 0), trained(tmp_path, 1, shift=0.02))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "seed" in found.reason
    assert "--base" in found.reason


@pytest.mark.usefixtures("undiagnosed")
def test_a_replay_is_no_change_and_parts_nowhere(tmp_path: Path) -> None:
    found = compared(tmp_path, trained(tmp_path, 0), trained(tmp_path, 1, seed=0))
    assert found.verdict is Verdict.NO_CHANGE
    assert {metric.verdict for metric in found.metrics} == {Verdict.NO_CHANGE}
    assert found.first_divergence.kind is DivergenceKind.NONE
    assert found.layers == ()


@pytest.mark.usefixtures("undiagnosed")
def test_a_wider_margin_turns_the_same_numbers_into_no_change(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    other = [trained(tmp_path, 3 + i) for i in range(3)]
    found = diff_runs(Store.open(tmp_path), base, other, margin=0.5)
    assert found.verdict is Verdict.NO_CHANGE
    assert found.margin == 0.5


@pytest.mark.usefixtures("undiagnosed")
def test_a_candidate_that_diverges_is_a_regression_and_a_base_that_did_an_improvement(
    tmp_path: Path,
) -> None:
    healthy, broken = trained(tmp_path, 0), trained(tmp_path, 1, tweak=diverging)
    found = compared(tmp_path, healthy, broken)
    assert found.verdict is Verdict.REGRESSION
    assert "non-finite values" in found.reason
    assert f"from step {N_STEPS // 2}" in found.reason
    assert math.isnan(found.metrics[0].candidate)
    assert compared(tmp_path, broken, healthy).verdict is Verdict.IMPROVEMENT
    other = trained(tmp_path, 2, tweak=diverging)
    assert compared(tmp_path, broken, other).verdict is Verdict.INCONCLUSIVE


@pytest.mark.usefixtures("undiagnosed")
def test_one_diverged_seed_of_three_keeps_a_candidate_from_passing(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    other = [trained(tmp_path, 3), trained(tmp_path, 4), trained(tmp_path, 5, tweak=diverging)]
    found = diff_runs(Store.open(tmp_path), base, other, margin=0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "1 run of the candidate" in found.reason


@pytest.mark.usefixtures("undiagnosed")
def test_the_same_seed_twice_counts_once(tmp_path: Path) -> None:
    base = [trained(tmp_path, 0), trained(tmp_path, 1), trained(tmp_path, 2, seed=1)]
    found = compared(tmp_path, base, [trained(tmp_path, 5), trained(tmp_path, 6)])
    assert found.metrics[0].n_base == 2
    assert any("repeats" in warning for warning in found.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_the_users_metric_decides_in_the_users_direction(tmp_path: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    worse = [trained(tmp_path, 3 + i, shift=0.15) for i in range(3)]
    store = Store.open(tmp_path)
    by_accuracy = diff_runs(store, base, worse, metrics=["val_accuracy"])
    assert [(m.name, m.direction) for m in by_accuracy.metrics] == [
        ("val_accuracy", Direction.HIGHER)
    ]
    stated = {"val_loss": Direction.HIGHER}
    turned = diff_runs(store, base, worse, metrics=["val_loss"], directions=stated)
    assert turned.verdict is Verdict.IMPROVEMENT


@pytest.mark.usefixtures("undiagnosed")
def test_another_metric_that_regressed_is_a_warning(tmp_path: Path) -> None:
    def made(index: int, extra: float) -> Run:
        generator = np.random.default_rng(index)
        built = builder(tmp_path, index).losses([1.0] * 30)
        built.metric("val_loss", {s: 1.0 + generator.normal(0, 0.001) for s in range(30)})
        return load_run(
            built.metric(
                "val_error", {s: 1.0 + extra + generator.normal(0, 0.001) for s in range(30)}
            ).write()
        )

    base, other = [made(i, 0.0) for i in range(3)], [made(3 + i, 0.5) for i in range(3)]
    found = compared(tmp_path, base, other)
    assert found.verdict is Verdict.NO_CHANGE
    assert {m.name: m.verdict for m in found.metrics}["val_error"] is Verdict.REGRESSION
    assert any("val_error" in warning for warning in found.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_many_metrics_need_stronger_evidence_each(tmp_path: Path) -> None:
    def made(index: int, shift: float) -> Run:
        built = builder(tmp_path, index).losses([1.0 + 0.001 * index] * 30)
        for number in range(12):
            value = 1.0 + (shift if number == 5 else 0.0) + 0.02 * (index % 3)
            built.metric(f"eval_{number}_error", {29: value})
        return load_run(built.metric("val_loss", {29: 1.0 + 0.001 * index}).write())

    base, other = [made(i, 0.0) for i in range(3)], [made(3 + i, 0.06) for i in range(3)]
    together = {m.name: m for m in compared(tmp_path, base, other).metrics}["eval_5_error"]
    alone = diff_runs(Store.open(tmp_path), base, other, metrics=["eval_5_error"])
    assert alone.verdict is Verdict.REGRESSION
    assert together.verdict is Verdict.INCONCLUSIVE
    assert "Holm" in together.reason


@pytest.mark.usefixtures("undiagnosed")
def test_runs_of_other_lengths_and_cadences_are_cut_at_the_last_common_step(tmp_path: Path) -> None:
    runs = []
    for index, (n, cadence) in enumerate(((300, 20), (200, 30))):
        built = builder(tmp_path, index).losses(list(np.linspace(2.0, 1.0, 300)[:n]))
        built.metric("val_loss", {s: 2.0 - s / 300 for s in range(cadence, n, cadence)})
        runs.append(load_run(built.write()))
    found = compared(tmp_path, runs[0], runs[1])
    val_loss = found.metrics[0]
    assert val_loss.step == 180
    assert val_loss.base == val_loss.candidate == pytest.approx(1.4)
    assert any("ends at step 280 in the base and step 180" in warning for warning in found.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_evaluations_that_share_no_stretch_are_compared_by_their_ends(tmp_path: Path) -> None:
    runs = []
    for index, last in enumerate((100, 150)):
        built = builder(tmp_path, index).losses([1.0] * last)
        runs.append(load_run(built.metric("val_loss", {last - 1: 0.5}).write()))
    found = compared(tmp_path, runs[0], runs[1])
    assert (found.metrics[0].base, found.metrics[0].candidate) == (0.5, 0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "fewer than three" in found.reason


@pytest.mark.usefixtures("undiagnosed")
def test_a_base_of_zero_gives_no_relative_change(tmp_path: Path) -> None:
    runs = []
    for index in range(4):
        built = builder(tmp_path, index).losses([0.0 if index < 2 else 1.0 + index] * 5)
        runs.append(load_run(built.write()))
    found = compared(tmp_path, runs[:2], runs[2:])
    assert found.metrics[0].change == math.inf


@pytest.mark.usefixtures("undiagnosed")
def test_the_step_time_is_compared_on_request(tmp_path: Path) -> None:
    runs = [load_run(builder(tmp_path, i).losses([1.0 + i] * 40).write()) for i in range(2)]
    found = diff_runs(Store.open(tmp_path), *runs, metrics=["step_s"])
    assert (found.metrics[0].name, found.verdict) == ("step_s", Verdict.NO_CHANGE)


@pytest.mark.usefixtures("undiagnosed")
def test_a_training_metric_is_compared_on_request(tmp_path: Path) -> None:
    runs = []
    for index in range(2):
        built = builder(tmp_path, index).losses([1.0] * 30)
        values = dict.fromkeys(range(30), 0.5 + index)
        runs.append(load_run(built.metric("train_accuracy", values, phase="train").write()))
    found = diff_runs(Store.open(tmp_path), *runs, metrics=["train_accuracy"])
    assert found.metrics[0].change == pytest.approx(2.0)


def test_findings_of_most_runs_are_new_or_fixed(
    tmp_path: Path, undiagnosed: dict[str, tuple[Finding, ...]]
) -> None:
    def finding(detector: str, severity: Severity = Severity.WARNING) -> Finding:
        return Finding(detector=detector, severity=severity, message="", advice="")

    base = [trained(tmp_path, i) for i in range(3)]
    other = [trained(tmp_path, 3 + i) for i in range(3)]
    both, old, new = finding("both"), finding("old"), finding("new")
    for run in base:
        undiagnosed[run.run] = (both, old)
    undiagnosed[other[0].run] = (new, both)
    undiagnosed[other[1].run] = (finding("new", Severity.ERROR), both)
    undiagnosed[other[2].run] = (both, old)
    found = compared(tmp_path, base, other)
    assert [(f.detector, f.severity) for f in found.new_findings] == [("new", Severity.ERROR)]
    assert [f.detector for f in found.fixed_findings] == ["old"]


@pytest.mark.usefixtures("undiagnosed")
def test_what_is_wrong_with_the_runs_is_said(tmp_path: Path) -> None:
    base = builder(tmp_path, 0, name="first").losses([1.0] * 40).metric("val_loss", {39: 1.0})
    other = builder(tmp_path, 1, name="second").losses([1.1] * 40).metric("val_loss", {39: 1.1})
    third = builder(tmp_path, 2, name="third").losses([1.2] * 40)
    runs = [load_run(base.write()), load_run(other.write(status=Status.FAILED))]
    found = compared(tmp_path, runs[0], [runs[1], load_run(third.write())])
    assert any("second" in warning and "failed" in warning for warning in found.warnings)
    assert any("val_loss is missing in third" in warning for warning in found.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_runs_without_a_common_metric_are_inconclusive(tmp_path: Path) -> None:
    base = load_run(builder(tmp_path, 0).losses([1.0] * 5).write())
    built = builder(tmp_path, 1).metric("val_loss", {4: 1.0})
    built.add("steps", step=0, flags=0)
    found = compared(tmp_path, base, load_run(built.write()))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.metrics == ()
    assert "no metric in common" in found.reason


def test_what_cannot_be_compared_is_refused_with_the_way_out(tmp_path: Path) -> None:
    run, empty = trained(tmp_path, 0), load_run(builder(tmp_path, 1).write())
    store = Store.open(tmp_path)
    with pytest.raises(UsageError, match="is both base and candidate"):
        diff_runs(store, run, [empty, run])
    with pytest.raises(UsageError, match="no run was given as candidate"):
        diff_runs(store, run, [])
    with pytest.raises(UsageError, match="margin"):
        diff_runs(store, run, empty, margin=-0.1)
    with pytest.raises(Inconclusive, match="nothing to compare"):
        diff_runs(store, run, empty)
    with pytest.raises(UsageError, match="not recorded in the base; metrics in both: val_loss"):
        diff_runs(store, run, trained(tmp_path, 2), metrics=["val_los"])


def test_the_json_is_stable_and_fits_its_schema(
    tmp_path: Path,
    golden: Callable[[str, str], None],
    undiagnosed: dict[str, tuple[Finding, ...]],
) -> None:
    base = trained(tmp_path, 0)
    broken = trained(tmp_path, 1, tweak=diverging, grad_factor={"body": 0.01}, config={"lr": 0.2})
    undiagnosed[broken.run] = (
        Finding(
            detector="non_finite",
            severity=Severity.ERROR,
            message="The loss is not finite from step 60.",
            advice="Lower the learning rate.",
            layer="body",
            first_step=60,
            last_step=119,
            value=math.inf,
        ),
    )
    found = compared(tmp_path, base, broken)
    document = json.loads(json_values.dumps(found.to_json()))
    schema = json.loads((resources.files("telemetry.schemas.json") / "diff.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    golden("compare/diff.json", json.dumps(rounded(document), indent=1) + "\n")
