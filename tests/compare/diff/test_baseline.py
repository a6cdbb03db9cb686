import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from curve_makers import loss_curve
from run_makers import N_STEPS, builder, trained

from telemetry import json_values
from telemetry.compare.diff.baseline import read_baseline, write_baseline
from telemetry.compare.diff.baseline_format import MOST_LAYER_POINTS, MOST_POINTS
from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import DivergenceKind, Verdict
from telemetry.diagnose.finding import Finding, Severity
from telemetry.diagnose.policy import Policy
from telemetry.errors import StoreUnreadable, TelemetryError, UsageError
from telemetry.json_values import Json
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

pytestmark = pytest.mark.usefixtures("undiagnosed")

DEAD = Finding(
    detector="dead_units",
    severity=Severity.WARNING,
    message="half of them\nare dead",
    advice="",
    layer="body",
    layers=("body", "head"),
    first_step=3,
    value=0.5,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "baseline.json"


def long_run(store: Path, index: int, *, seed: int, shift: float = 0.0) -> Run:
    curve = loss_curve(seed, n=3000, shift=shift)
    return load_run(builder(store, index).losses(curve.values.tolist()).write())


def against(file: Path, store: Path, runs: Run | Sequence[Run], **options: Sequence[str]) -> Diff:
    return diff_runs(Store.open(store), read_baseline(file), runs, metrics=options.get("metrics"))


def keep(store: Path, runs: Sequence[Run], file: Path) -> dict[str, Json]:
    write_baseline(Store.open(store), runs, file)
    return json.loads(file.read_text("utf-8"))


def test_short_runs_compare_with_their_file_as_with_themselves(tmp_path: Path, file: Path) -> None:
    base = [trained(tmp_path, i) for i in range(3)]
    worse = [trained(tmp_path, 3 + i, shift=0.15, config={"lr": 0.4}) for i in range(3)]
    keep(tmp_path, base, file)
    recorded = diff_runs(Store.open(tmp_path), base, worse)
    found = against(file, tmp_path, worse)
    assert found.verdict is Verdict.REGRESSION
    documents = [json_values.dumps(diff.to_json()["metrics"]) for diff in (recorded, found)]
    assert documents[0] == documents[1]
    assert found.config == recorded.config
    assert [run.run for run in found.base] == [run.run for run in base]
    assert found.baseline_file == str(file)
    assert recorded.baseline_file is None
    parted = found.first_divergence
    assert (parted.kind, parted.step, parted.equal_until) == (DivergenceKind.UNKNOWN, 0, None)


def test_a_replay_of_a_long_run_is_no_change_to_the_last_bit(tmp_path: Path, file: Path) -> None:
    document = keep(tmp_path, [long_run(tmp_path, 0, seed=0)], file)
    kept = document["runs"][0]["curves"]["loss"]
    assert (kept["n"], len(kept["steps"])) == (3000, 375)
    assert len(kept["steps"]) <= MOST_POINTS
    (metric,) = against(file, tmp_path, long_run(tmp_path, 1, seed=0)).metrics
    assert (metric.change, metric.ci_low, metric.ci_high) == (0, 0, 0)
    assert metric.verdict is Verdict.NO_CHANGE


def test_where_runs_part_is_told_to_the_next_step_that_is_kept(tmp_path: Path, file: Path) -> None:
    curve = loss_curve(0, n=3000).values
    bent = np.where(np.arange(3000) < 1001, curve, 2 * curve)
    keep(tmp_path, [long_run(tmp_path, 0, seed=0)], file)
    other = load_run(builder(tmp_path, 1).losses(bent.tolist()).write())
    parted = against(file, tmp_path, other).first_divergence
    assert (parted.step, parted.equal_until) == (1007, 999)
    replay = against(file, tmp_path, long_run(tmp_path, 2, seed=0)).first_divergence
    assert replay.step is None
    assert "equal at all 375 steps" in replay.detail


def test_a_thinned_group_finds_what_the_whole_one_finds(tmp_path: Path, file: Path) -> None:
    base = [long_run(tmp_path, i, seed=i) for i in range(3)]
    worse = [long_run(tmp_path, 3 + i, seed=3 + i, shift=0.2) for i in range(3)]
    keep(tmp_path, base, file)
    whole = diff_runs(Store.open(tmp_path), base, worse)
    found = against(file, tmp_path, worse)
    assert found.verdict is Verdict.REGRESSION
    assert found.metrics[0].change == pytest.approx(whole.metrics[0].change, abs=0.02)
    assert found.costs == whole.costs
    assert "step_s" in {cost.name for cost in found.costs}


def test_layers_and_findings_are_kept(
    tmp_path: Path, file: Path, undiagnosed: dict[str, tuple[Finding, ...]]
) -> None:
    base = trained(tmp_path, 0)
    other = trained(tmp_path, 1, grad_factor={"body": 0.05})
    undiagnosed[base.run] = (DEAD,)
    document = keep(tmp_path, [base], file)
    assert all(
        len(entry["steps"]) <= MOST_LAYER_POINTS + 1 for entry in document["runs"][0]["layers"]
    )
    found = against(file, tmp_path, other)
    assert [(c.layer, c.statistic) for c in found.layers] == [("body", "grad_norm")]
    assert found.layers[0].log2_ratio == pytest.approx(np.log2(0.05), abs=0.5)
    assert found.fixed_findings == (DEAD,)
    assert found.new_findings == ()


def test_a_finding_under_other_settings_of_the_diagnosis_is_doubted(
    tmp_path: Path, file: Path, undiagnosed: dict[str, tuple[Finding, ...]]
) -> None:
    base, other = trained(tmp_path, 0), trained(tmp_path, 1)
    keep(tmp_path, [base], file)
    store, policy = Store.open(tmp_path), Policy(limits={"dead_units": {"dead_share_limit": 0.9}})

    def doubted() -> bool:
        found = diff_runs(store, read_baseline(file), other, policy=policy)
        return any("other diagnosis rules" in warning for warning in found.warnings)

    assert not doubted()
    undiagnosed[other.run] = (DEAD,)
    assert doubted()
    assert not any(
        "other diagnosis rules" in text for text in against(file, tmp_path, other).warnings
    )


def test_values_that_are_not_finite_survive(tmp_path: Path, file: Path) -> None:
    broken = trained(tmp_path, 0, tweak=lambda step, v: math.nan if step > N_STEPS // 2 else v)
    keep(tmp_path, [broken], file)
    assert "NaN" not in file.read_text("utf-8")
    found = against(file, tmp_path, trained(tmp_path, 1))
    assert found.verdict is Verdict.IMPROVEMENT
    assert "non-finite values" in found.reason


def test_other_metrics_are_kept_on_request(tmp_path: Path, file: Path) -> None:
    runs = []
    for index in range(2):
        built = builder(tmp_path, index).losses([1.0] * 30)
        values = dict.fromkeys(range(30), 0.5 + index)
        runs.append(load_run(built.metric("train_accuracy", values, phase="train").write()))
    store = Store.open(tmp_path)
    write_baseline(store, runs[:1], file)
    with pytest.raises(UsageError, match="has no metric 'train_accuracy', only loss; export it"):
        against(file, tmp_path, runs[1], metrics=["train_accuracy"])
    write_baseline(store, runs[:1], file, metrics=["train_accuracy"])
    found = against(file, tmp_path, runs[1], metrics=["train_accuracy"])
    assert found.metrics[0].change == pytest.approx(2.0)
    with pytest.raises(UsageError, match="'absent' is not recorded"):
        write_baseline(store, runs[:1], file, metrics=["absent"])


def test_a_file_for_git_is_small_and_has_a_line_for_each_curve(tmp_path: Path, file: Path) -> None:
    keep(tmp_path, [long_run(tmp_path, i, seed=i) for i in range(3)], file)
    assert file.stat().st_size < 100_000
    (line, *_) = [line for line in file.read_text("utf-8").splitlines() if '"loss": {"n"' in line]
    assert line.count("[") == 2


def test_only_a_baseline_is_replaced(tmp_path: Path, file: Path) -> None:
    run, store = trained(tmp_path, 0), Store.open(tmp_path)
    assert write_baseline(store, [run], file) == file.stat().st_size
    assert write_baseline(store, [run], file) > 0
    script = tmp_path / "train.py"
    script.write_text("precious")
    with pytest.raises(UsageError, match="is not a baseline, so it is not overwritten"):
        write_baseline(store, [run], script)
    assert script.read_text() == "precious"
    with pytest.raises(UsageError, match="is not a folder"):
        write_baseline(store, [run], tmp_path / "absent" / "b.json")
    with pytest.raises(UsageError, match="no run was given"):
        write_baseline(store, [], file)


def changed(change: Callable[[dict[str, Json]], object]) -> Callable[[dict[str, Json]], str]:
    def text(document: dict[str, Json]) -> str:
        change(document)
        return json.dumps(document)

    return text


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Text of a baseline of one run."""
    store = tmp_path_factory.mktemp("store")
    run = load_run(builder(store, 0).losses([1.0, 0.5, 0.25]).write())
    write_baseline(Store.open(store), [run], store / "baseline.json")
    return (store / "baseline.json").read_text("utf-8")


def first_curve(document: dict[str, Json]) -> dict[str, Json]:
    return document["runs"][0]["curves"]["loss"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda document: json.dumps(document)[:-40], "incomplete or not JSON"),
        (lambda _: "", "incomplete or not JSON"),
        (lambda _: "[" * 100_000, "incomplete or not JSON"),
        (lambda _: "[]", "contains a list"),
        (lambda _: '{"verdict": "no_change"}', "not a telemetry baseline"),
        (changed(lambda d: d.update(schema_version=2)), "baseline has version 2"),
        (changed(lambda d: d.update(schema_version="1")), "baseline has version '1'"),
        (changed(lambda d: d.update(runs=[])), "damaged"),
        (changed(lambda d: d.pop("rules")), "damaged"),
        (changed(lambda d: d["runs"][0].update(curves={})), "damaged"),
        (changed(lambda d: d["runs"][0]["costs"].pop("step_s")), "damaged"),
        (changed(lambda d: d["runs"][0]["costs"]["step_s"].update(value=0)), "damaged"),
        (changed(lambda d: d["runs"][0]["run"].update(name=3)), "damaged"),
        (changed(lambda d: d["runs"][0]["run"].update(status="odd")), "damaged"),
        (changed(lambda d: d["runs"][0].update(findings=[{}])), "damaged"),
        (changed(lambda d: first_curve(d)["values"].pop()), "damaged"),
        (changed(lambda d: first_curve(d)["steps"].reverse()), "damaged"),
        (changed(lambda d: first_curve(d)["steps"].__setitem__(0, 2**80)), "damaged"),
        (changed(lambda d: first_curve(d)["values"].__setitem__(0, "much")), "damaged"),
        (changed(lambda d: first_curve(d)["values"].__setitem__(0, [])), "damaged"),
    ],
)
def test_a_file_that_is_torn_foreign_or_newer_is_refused(
    example: str, file: Path, damage: Callable[[dict[str, Json]], str], words: str
) -> None:
    file.write_text(damage(json.loads(example)))
    with pytest.raises(StoreUnreadable, match=words) as refused:
        read_baseline(file)
    assert refused.value.exit_code == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match=r"absent\.json: the baseline cannot be read"):
        read_baseline(tmp_path / "absent.json")


def test_a_file_of_the_first_version_stays_readable(tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[2] / "golden" / "compare" / "baseline_v1.json"
    (run,) = read_baseline(path).runs
    assert run.labels.config == {"lr": 0.1, "seed": 0, "nested": {"a": [1, 2]}}
    assert run.curves["loss"].values.tolist() == [2.0, 1.0, 0.5, 0.25]
    assert math.isnan(run.curves["val_loss"].final())
    assert run.layers[("body", "grad_norm")].series.values.tolist() == [0.0, -1.0, -1.585, -2.0]
    later = load_run(builder(tmp_path, 1).losses([2.0, 1.0, 0.5, 0.3]).write())
    assert [metric.name for metric in against(path, tmp_path, later).metrics] == ["loss"]
