"""Rows that are found out after training: once each, beside each other, under the lock."""

from pathlib import Path

import pytest
from synthetic import START, RunBuilder

from telemetry.errors import SchemaMismatch, StoreUnreadable
from telemetry.store import results
from telemetry.store.files.locks import run_lock
from telemetry.store.results import append_once
from telemetry.store.store import Store


def hypothesis(name: str) -> dict[str, object]:
    texts = ("statement", "kind", "base_dataset", "definition", "expected_metric", "expected_op")
    return {
        "name": name,
        "digest": f"digest of {name}",
        "min_size": 1,
        "written_at": START.replace(tzinfo=None),
        **dict.fromkeys(texts, "x"),
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return RunBuilder(store=tmp_path).losses([1.0]).write()


def shown(store: Path) -> list[str]:
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        return session.query("SELECT name FROM hypotheses ORDER BY name").texts("name")


def test_each_identity_is_kept_once(run: Path, tmp_path: Path) -> None:
    assert append_once(run, "hypotheses", [hypothesis("a")], identity="digest")
    assert append_once(run, "hypotheses", [hypothesis("b")], identity="digest")
    assert not append_once(run, "hypotheses", [hypothesis("a")], identity="digest")
    assert shown(tmp_path) == ["a", "b"]


def test_a_torn_shard_hides_no_other(run: Path, tmp_path: Path) -> None:
    append_once(run, "hypotheses", [hypothesis("a")], identity="digest")
    (shard,) = (run / "hypotheses" / "rank=0").glob("*.parquet")
    shard.write_bytes(b"torn")
    assert append_once(run, "hypotheses", [hypothesis("b")], identity="digest")
    assert shown(tmp_path) == ["b"]


def test_a_row_that_does_not_fit_writes_nothing(run: Path) -> None:
    with pytest.raises(SchemaMismatch, match=r"hypotheses\.statement"):
        append_once(run, "hypotheses", [{"digest": "d"} | {"name": "a"}], identity="digest")
    assert not list((run / "hypotheses").rglob("*.parquet"))


def test_a_run_that_somebody_else_writes_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(results.time, "sleep", waits.append)
    with run_lock(run), pytest.raises(StoreUnreadable, match="another process writes"):
        append_once(run, "hypotheses", [hypothesis("a")], identity="digest")
    assert len(waits) == results.LOCK_TRIES


def test_a_disk_that_refuses_is_named(run: Path) -> None:
    (run / "hypotheses").write_text("in the way")
    with pytest.raises(StoreUnreadable, match=r"hypotheses.*cannot be written"):
        append_once(run, "hypotheses", [hypothesis("a")], identity="digest")
