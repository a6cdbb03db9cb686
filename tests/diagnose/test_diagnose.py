import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged_runs import Chain, Chains, diagnosed, not_checked, stalled
from many_shards import run_of
from synthetic import RunBuilder
from two_shards import shards

from telemetry.diagnose import diagnose
from telemetry.diagnose.__main__ import close_run, main
from telemetry.diagnose.detector import all_detectors, find_detector
from telemetry.diagnose.diagnose import diagnose_run, ensure_findings
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.diagnose.identity import options_hash, rules_version
from telemetry.diagnose.policy import Policy, Suppression
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status, read_manifest
from telemetry.store.runs.findings_cache import read_findings
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.store import Store
from telemetry.store.upkeep.compaction import GRACE_S


def vanishing(run: Chain) -> Chain:
    run.losses(stalled(2.3, 120), every=4)
    for step in range(0, 120, 4):
        run.gradients(step, [4.0**-k for k in range(7, -1, -1)])
    return run


def test_every_detector_has_exactly_one_outcome(chain: Chains) -> None:
    result = diagnosed(vanishing(chain(8)))
    outcomes = [
        *(f.detector for f in result.findings),
        *result.passed,
        *(n.detector for n in result.not_checked),
    ]
    assert sorted(outcomes) == [d.id for d in all_detectors()]
    assert (result.state, result.n_steps, result.n_samples) == ("stalled", 120, 30)
    assert all(n.reason for n in result.not_checked)


def test_a_run_of_no_steps_is_passed_by_nobody_that_needs_data(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path).write()
    store = Store.open(tmp_path)
    result = diagnose_run(store, store.runs()[0])
    assert result.findings == ()
    assert set(result.passed) <= {"non_finite"}
    assert result.state == "unknown"


def test_a_rule_that_fails_is_told_and_silences_no_other(
    chain: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object) -> None:
        raise ZeroDivisionError("by zero")

    rules = tuple(
        replace(rule, judge=failing) if rule.id == "loss_spike" else rule
        for rule in all_detectors()
    )
    monkeypatch.setattr(diagnose, "all_detectors", lambda: rules)
    with pytest.warns(RuntimeWarning, match=r"the rule loss_spike failed \(ZeroDivisionError: by"):
        result = diagnosed(vanishing(chain(8)))
    assert result.findings[0].detector == "vanishing_gradient"
    assert "a bug in telemetry" in not_checked(result, "loss_spike").reason


def test_rules_share_the_rows_that_the_first_of_them_read(
    chain: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the shards of parameters are opened once, before the first rule judges."""
    run = vanishing(chain(8))
    shared = ("adam_second_moment", "epsilon_domination", "gradient_ascent", "over_regularized")
    left: list[int] = []

    def deleting(rows: Rows, *_arguments: object) -> None:
        left.append(len(rows))
        shutil.rmtree(run.path / "tensor_stats", ignore_errors=True)

    asked = "SELECT step FROM tensor_points WHERE run = $run ORDER BY step"
    rules = tuple(
        replace(find_detector(name), sql=asked, needs=(), judge=deleting) for name in shared
    )
    monkeypatch.setattr(diagnose, "all_detectors", lambda: rules)
    assert diagnosed(run).passed == shared
    assert len(left) == len(shared)
    assert min(left) == max(left) > 0


def test_chosen_detectors_alone_are_run(chain: Chains) -> None:
    result = diagnosed(vanishing(chain(8)), detectors=["vanishing_gradient"])
    assert [f.detector for f in result.findings] == ["vanishing_gradient"]
    assert result.passed == ()
    assert result.not_checked == ()


def test_a_description_is_told_where_it_is_asked_for(chain: Chains) -> None:
    losses = [*np.geomspace(2.3, 1.0, 100), *stalled(1.0, 60, noise=0.01)]
    run = chain(2).losses(losses)
    assert "loss_plateau" in diagnosed(run).passed
    alone = diagnosed(run, detectors=["loss_plateau"])
    assert [f.severity for f in alone.findings] == ["info"]


def test_limits_can_be_overridden(chain: Chains) -> None:
    strict = {"vanishing_gradient": {"slope_limit": 5.0, "long_drop": 99}}
    result = diagnosed(vanishing(chain(8)), limits=strict)
    assert "vanishing_gradient" in result.passed


def test_unknown_names_are_refused(chain: Chains) -> None:
    run = vanishing(chain(8))
    with pytest.raises(UsageError, match="did you mean"):
        diagnosed(run, detectors=["vanishing"])
    with pytest.raises(UsageError, match="has no parameter"):
        diagnosed(run, limits={"vanishing_gradient": {"slope": 1.0}})


def test_what_ended_before_a_step_is_over(chain: Chains) -> None:
    run = vanishing(chain(8))
    early = diagnosed(run, since=100, detectors=["vanishing_gradient"])
    assert [f.detector for f in early.findings] == ["vanishing_gradient"]
    late = diagnosed(run, since=117, detectors=["vanishing_gradient"])
    assert late.passed == ("vanishing_gradient",)


def test_an_unreadable_run_is_an_error(tmp_path: Path) -> None:
    folder = RunBuilder(store=tmp_path).losses([1.0]).write()
    (folder / "run.json").write_text("{")
    store = Store.open(tmp_path)
    with pytest.raises(StoreUnreadable, match=r"run\.json"):
        diagnose_run(store, store.runs()[0])


def test_a_finding_is_json_and_its_query_runs(chain: Chains) -> None:
    run = vanishing(chain(8))
    result = diagnosed(run)
    assert json.loads(json.dumps(result.to_json()))["state"] == "stalled"
    store = Store.open(run.store)
    with store.session(store.runs()) as session:
        for finding in result.findings:
            assert len(session.query(str(finding.evidence["query"])))


def test_findings_of_closed_runs_are_kept(chain: Chains) -> None:
    run = vanishing(chain(8))
    folder = run.write()
    store = Store.open(run.store)
    ensure_findings(store, store.runs())
    kept = read_findings(
        store.runs()[0],
        detector_version=rules_version(),
        options_hash=options_hash(None, Policy()),
    )
    assert kept is not None
    assert {row["detector"] for row in kept.rows} == {"vanishing_gradient", "loss_not_decreasing"}
    assert read_manifest(folder).summary["findings"] == {"error": 0, "warning": 2, "info": 0}


def test_valid_findings_are_not_computed_again(
    chain: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = vanishing(chain(8))
    run.write()
    store = Store.open(run.store)
    judged: list[object] = []

    def counted(store: Store, run: Run, *, policy: Policy) -> Diagnosis:
        judged.append(run)
        return diagnose_run(store, run, policy=policy)

    monkeypatch.setattr(diagnose, "diagnose_run", counted)
    ensure_findings(store, store.runs())
    assert len(judged) == 1
    ensure_findings(store, store.runs())
    assert len(judged) == 1


def test_running_and_unreadable_runs_are_left_alone(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path, run="a").losses([1.0]).write(status=Status.RUNNING)
    broken = RunBuilder(store=tmp_path, run="b").losses([1.0]).write()
    (broken / "run.json").write_text("[]")
    store = Store.open(tmp_path)
    ensure_findings(store, [run for run in store.runs() if run.status is Status.RUNNING])
    ensure_findings(store, [run for run in store.runs() if run.run == "b"])
    assert not list(tmp_path.glob("**/findings"))


def test_other_options_have_another_hash() -> None:
    accepted = Suppression(detector="dead_units", reason="known", by="telemetry.toml")
    hashes = {
        options_hash(None, Policy()),
        options_hash(["dead_units"], Policy()),
        options_hash(None, Policy(limits={"dead_units": {"dead_limit": 0.5}})),
        options_hash(None, Policy(disabled={"dead_units": "telemetry.toml"})),
        options_hash(None, Policy(caps={"dead_units": Severity.INFO})),
        options_hash(None, Policy(suppressions=(accepted,))),
    }
    assert len(hashes) == 6
    assert options_hash(["a", "b"], Policy()) == options_hash(["b", "a"], Policy())


def test_the_child_after_close_keeps_findings(
    chain: Chains, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = vanishing(chain(8)).write()
    assert main([str(folder), "--close"]) == 0
    assert read_manifest(folder).summary["findings"] == {"error": 0, "warning": 2, "info": 0}
    assert capsys.readouterr() == ("", "")


def test_a_run_that_has_ended_is_merged_and_its_old_files_go_a_minute_later(
    tmp_path: Path,
) -> None:
    path = run_of(tmp_path, 3)
    waits: list[float] = []

    def later(seconds: float) -> None:
        waits.append(seconds)
        for shard in shards(path):
            os.utime(shard, (0, 0))

    close_run(Store.open(tmp_path), path, sleep=later)
    assert waits == [GRACE_S + 1.0]
    assert len(shards(path)) == 1
    assert len(list((path / "findings" / "rank=0").iterdir())) == 1


def test_the_child_is_quiet_about_a_folder_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "a" / "b"), "--close"]) == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(4))
def test_no_run_is_too_strange_to_judge(chain: Chains, seed: int) -> None:
    """Values of every kind in every place: missing, zero, huge, not finite."""
    draw = np.random.default_rng(seed)
    values = [None, 0.0, 1.0, -1.0, 1e-300, 1e300, float("nan"), float("inf")]

    def value() -> float | None:
        return values[int(draw.integers(len(values)))]

    run = chain(6)
    for step in range(60):
        run.add("steps", step=step, loss=value(), lr=value(), samples=64, flags=17)
        run.metric("val_loss", {step: value() or 0.0})
        for index in range(6):
            for kind in ("weight", "gradient", "update"):
                run.norm(f"l{index}.weight", kind, step, 1.0, n=4096, sumsq=value(), scale=value())
            for site in ("output", "output_grad"):
                run.activation(
                    f"l{index}", site, step, n_units=4, n_dead=4, n_saturated=4,
                    n_saturated_entries=10, window_samples=512, sum=value(), sumsq=value(),
                )  # fmt: skip
        run.activation("", "logits", step, loss_op="cross_entropy", n_units=10, sumsq=value())
    assert len(diagnosed(run).findings) <= len(all_detectors())
