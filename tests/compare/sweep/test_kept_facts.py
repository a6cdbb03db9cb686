"""What sweeps keep makes the next one quicker, and never different."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_makers import builder

from telemetry import json_values
from telemetry.compare.sweep import (
    forest,
    importance,
    kept_facts,
)
from telemetry.compare.sweep import (
    parameter_effects as sweep_parameters,
)
from telemetry.compare.sweep.sweep import sweep_runs
from telemetry.diagnose.diagnose import ensure_findings
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.finding import Severity
from telemetry.format.manifest import Status
from telemetry.store.files import catalogue_file
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

NAN = float("nan")


@pytest.fixture(autouse=True)
def _kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small stores are kept too, and what was just written; no forest is grown."""
    monkeypatch.setattr(catalogue_file, "FEWEST_RUNS", 1)
    monkeypatch.setattr(kept_facts, "SETTLED_S", -1e6)
    monkeypatch.setattr(forest, "is_available", lambda: False)


def recorded(store: Path, index: int, *, project: str = "demo", evaluated: bool = True) -> Path:
    """A run of 30 steps; every third one breaks off in NaN."""
    built = builder(store, index, config={"lr": 0.1 * (index % 4), "act": "relu"})
    built.project = project
    losses = [2.0 / (step + 1) + 0.1 * (index % 4) for step in range(30)]
    built.losses([NAN if index % 3 == 2 and step > 20 else v for step, v in enumerate(losses)])
    built.parameter("fc.weight", shape=(4, 3), depth=0)
    if evaluated:
        built.metric("val_loss", {step: losses[step] + 0.01 * index for step in (9, 19, 29)})
        built.metric("val_accuracy", {29: 0.5 + 0.01 * index})
    return built.write()


@pytest.fixture(scope="module")
def _judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs, and one of the id of another in a project of an odd name, with findings."""
    found = tmp_path_factory.mktemp("judged")
    for index in range(5):
        recorded(found, index)
    recorded(found, 3, project="a/b = '\n", evaluated=False)
    ensure_findings(Store.open(found), runs_of(found))
    return found


@pytest.fixture
def store(_judged: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_judged, tmp_path / "store")


def runs_of(store: Path) -> list[Run]:
    found = Store.open(store).runs()
    return sorted(found, key=lambda run: (run.ref.project != "demo", run.key))


def answer(store: Path, metric: str | None = None, policy: Policy = DEFAULT_POLICY) -> str:
    """Everything that a sweep says, as text."""
    opened = Store.open(store)
    found = sweep_runs(opened, runs_of(store), metric=metric, policy=policy)
    return json_values.dumps([found.to_json(), found.damage], indent=1)


def forget(store: Path) -> None:
    shutil.rmtree(store / ".telemetry", ignore_errors=True)


def check(store: Path, metric: str | None = None) -> str:
    """The answer with what is kept, twice, is the answer without."""
    first, second = answer(store, metric), answer(store, metric)
    forget(store)
    assert first == second == answer(store, metric)
    return first


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each session was opened over."""
    opened: list[int] = []
    session = Store.session

    def counted(self: Store, runs: list[Run], **options: bool) -> object:
        opened.append(len(runs))
        return session(self, runs, **options)

    monkeypatch.setattr(Store, "session", counted)
    return opened


def test_a_second_sweep_opens_no_table(store: Path, sessions: list[int]) -> None:
    first = answer(store)
    assert 6 in sessions
    sessions.clear()
    assert answer(store) == first
    assert sessions == []


def test_a_new_run_is_the_only_one_that_is_read(store: Path, sessions: list[int]) -> None:
    answer(store)
    recorded(store, 9)
    sessions.clear()
    found = answer(store)
    assert set(sessions) == {1}
    forget(store)
    assert answer(store) == found


def test_another_metric_is_read_once_and_the_first_one_stays(
    store: Path, sessions: list[int]
) -> None:
    first = answer(store, "val_loss")
    for metric, n_runs in (("val_accuracy", 5), ("loss", 6)):
        sessions.clear()
        found = answer(store, metric)
        assert set(sessions) <= {n_runs, 5}  # one ends in NaN, and how is known of it
        sessions.clear()
        assert answer(store, metric) == found
        assert sessions == []
        assert answer(store, "val_loss") == first
        assert sessions == []
    check(store, "loss")


def test_another_policy_asks_for_another_diagnosis(store: Path, sessions: list[int]) -> None:
    for run in runs_of(store)[3:]:
        shutil.rmtree(run.ref.path)
    answer(store)
    sessions.clear()
    capped = Policy(caps={"non_finite": Severity.INFO})
    found = answer(store, policy=capped)
    assert sessions != []
    assert "non_finite" not in {one["detector"] for one in json.loads(found)[0]["failures"]}
    forget(store)
    assert answer(store, policy=capped) == found


def test_runs_of_one_id_in_two_projects_are_two_runs(store: Path) -> None:
    found = json.loads(answer(store))[0]["runs"]
    twins = [entry for entry in found if entry["run"] == runs_of(store)[-1].run]
    assert [entry["value"] is None for entry in twins] == [False, True]


def test_a_running_run_is_read_each_time(store: Path, sessions: list[int]) -> None:
    built = builder(store, 20).losses([1.0] * 30).metric("val_loss", {29: 1.0})
    built.write(status=Status.RUNNING)
    answer(store)
    sessions.clear()
    answer(store)
    assert set(sessions) == {1}


def test_what_was_written_a_moment_ago_is_not_kept(
    store: Path, monkeypatch: pytest.MonkeyPatch, sessions: list[int]
) -> None:
    monkeypatch.setattr(kept_facts, "SETTLED_S", 1e6)
    answer(store)
    sessions.clear()
    answer(store)
    assert 6 in sessions


def test_a_run_that_changes_while_it_is_read_is_read_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kept_facts.KeptFacts.put

    def disturbed(self: kept_facts.KeptFacts, run: Run, known: kept_facts.Known) -> None:
        if run.key == runs_of(store)[0].key:
            _shard(store, "metrics").unlink(missing_ok=True)
        whole(self, run, known)

    with monkeypatch.context() as patch:
        patch.setattr(kept_facts.KeptFacts, "put", disturbed)
        before = answer(store)
    assert check(store) != before


def _shard(store: Path, table: str) -> Path:
    return next((runs_of(store)[0].ref.path / table / "rank=0").glob("*.parquet"))


def _tear(store: Path) -> None:
    _shard(store, "metrics").write_bytes(b"torn")


def _flip(store: Path) -> None:
    path = _shard(store, "steps")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(1, time.time_ns()))


def _lose(store: Path) -> None:
    _shard(store, "metrics").unlink()


def _add_a_foreign_file(store: Path) -> None:
    (runs_of(store)[0].ref.path / "steps" / "rank=0" / "notes.csv").write_text("x")


def _link_a_table(store: Path) -> None:
    table = runs_of(store)[0].ref.path / "metrics"
    table.rename(store / "elsewhere")
    table.symlink_to(store / "elsewhere")


def _edit_the_configuration(store: Path) -> None:
    path = runs_of(store)[1].ref.path / "run.json"
    raw = json.loads(path.read_text())
    raw["config"]["lr"] = 7.5
    path.write_text(json.dumps(raw))
    os.utime(path, ns=(1, 1))


def _delete(store: Path) -> None:
    shutil.rmtree(runs_of(store)[2].ref.path)


def _swap(store: Path) -> None:
    first, second = (run.ref.path for run in runs_of(store)[:2])
    first.rename(store / "aside")
    second.rename(first)
    (store / "aside").rename(second)


def _spoil_what_is_kept(store: Path) -> None:
    path = store / ".telemetry" / kept_facts.NAME
    path.write_bytes(path.read_bytes()[:-20])


def _forge(store: Path) -> None:
    """Whole and of the right state, but no line is one of ours."""
    path = store / ".telemetry" / kept_facts.NAME
    head, *lines = path.read_bytes().splitlines()
    version = head.decode().split()[2]
    kept = catalogue_file.CatalogueFile(store, kept_facts.NAME, version=version)
    for number, line in enumerate(lines):
        place, state, text = line.split(b"\t", 2)
        document = json.loads(text)
        if isinstance(document, dict):
            document["facts"].update([("end", "x"), ("curves", {"val_loss": [1]})][number % 2 :])
            document["facts"]["losses"] = ["AAAA"]
        kept.put(
            place.decode(), state.decode(), json.dumps(document).encode()[: -(number % 2) or None]
        )
    kept.save()


@pytest.mark.parametrize(
    "change",
    [
        _tear,
        _flip,
        _lose,
        _add_a_foreign_file,
        _link_a_table,
        _edit_the_configuration,
        _delete,
        _swap,
        _spoil_what_is_kept,
        _forge,
    ],
)
def test_whatever_happens_to_a_store_the_answer_is_that_of_its_files(
    store: Path, change: Callable[[Path], None]
) -> None:
    before = answer(store)
    change(store)
    found = check(store)
    assert (found == before) == (change in {_spoil_what_is_kept, _forge})


def test_importances_are_computed_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_project = [run for run in runs_of(store) if run.ref.project == "demo"]
    computed: list[int] = []

    def counted(*arguments: object) -> object:
        computed.append(1)
        return importance.importances(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_parameters, "importances", counted)
    first = sweep_runs(Store.open(store), one_project)
    second = sweep_runs(Store.open(store), one_project)
    assert (second.parameters, len(computed)) == (first.parameters, 1)
    _edit_the_configuration(store)
    changed = [run for run in runs_of(store) if run.ref.project == "demo"]
    assert sweep_runs(Store.open(store), changed).parameters != first.parameters
    assert len(computed) == 2
