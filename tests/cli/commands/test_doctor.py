from pathlib import Path

import pytest
from command_line import Telemetry, validated
from many_shards import run_of
from two_shards import break_pages, shards


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of four shards, in the store that commands look at."""
    store = tmp_path / "telemetry-runs"
    monkeypatch.setenv("TELEMETRY_STORE", str(store))
    return run_of(store, 4)


@pytest.mark.usefixtures("path")
def test_a_sound_store_has_no_problem(telemetry: Telemetry) -> None:
    done = telemetry("doctor", "--verify")
    assert done.code == 0
    assert "1 run: no problem" in done.out


def test_damaged_pages_are_seen_with_verify_alone(telemetry: Telemetry, path: Path) -> None:
    broken = shards(path)[1]
    break_pages(broken)
    assert telemetry("doctor").code == 0
    done = telemetry("doctor", "--verify", "--json")
    assert done.code == 1
    document = validated("doctor", done.out)
    assert any(broken.name in one["text"] for one in document["complaints"])


def test_a_lost_shard_is_a_hole(telemetry: Telemetry, path: Path) -> None:
    shards(path)[1].unlink()
    done = telemetry("doctor", "latest")
    assert done.code == 1
    assert "steps 3 to 5 are missing" in " ".join(done.out.split())


def test_foreign_files_and_an_unreadable_manifest_are_named(
    telemetry: Telemetry, path: Path
) -> None:
    (path / "steps" / "rank=0" / "notes.parquet").write_text("mine")
    (path / "run.json").write_text("{")
    done = telemetry("doctor")
    assert done.code == 1
    assert "notes.parquet" in done.out
    assert "run.json" in done.out


@pytest.mark.usefixtures("path")
def test_an_unknown_run_is_an_error(telemetry: Telemetry) -> None:
    assert telemetry("doctor", "absent").code == 2
