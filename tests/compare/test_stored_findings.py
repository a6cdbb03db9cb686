from pathlib import Path

import pytest
from run_makers import builder, trained

from telemetry.compare.stored_findings import roots_of_runs
from telemetry.diagnose import diagnose
from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.finding import Severity
from telemetry.errors import StoreUnreadable
from telemetry.format.runs import MANIFEST_NAME
from telemetry.store.runs.catalog import load_run
from telemetry.store.store import Store


def exploding(_: int, value: float) -> float:
    return value if _ < 60 else float("nan")


def test_a_stored_diagnosis_is_served_as_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = trained(tmp_path, 0, tweak=exploding), Store.open(tmp_path)
    made = findings_of(store, run)
    assert {finding.detector for finding in made} >= {"non_finite"}
    monkeypatch.delattr(diagnose, "diagnose_run")
    served = findings_of(store, run)
    assert len(served) == len(made)
    assert {f.detector: f.to_json() for f in served} == {f.detector: f.to_json() for f in made}


def test_roots_are_errors_and_warnings_that_no_other_finding_explains(tmp_path: Path) -> None:
    runs = [trained(tmp_path, 0), trained(tmp_path, 1, tweak=exploding)]
    store = Store.open(tmp_path)
    (_, healthy), (_, broken) = roots_of_runs(store, runs)
    expected = {
        finding.detector
        for finding in findings_of(store, runs[1])
        if finding.consequence_of is None and finding.severity is not Severity.INFO
    }
    assert healthy == frozenset()
    assert broken == expected
    assert "non_finite" in expected


def test_a_run_without_a_readable_manifest_says_why(tmp_path: Path) -> None:
    good = trained(tmp_path, 0)
    path = builder(tmp_path, 1).losses([1.0]).write()
    (path / MANIFEST_NAME).write_text("{torn")
    outcomes = roots_of_runs(Store.open(tmp_path), [load_run(path), good])
    assert isinstance(outcomes[0][1], StoreUnreadable)
    assert outcomes[1][1] == frozenset()
