"""A file that somebody has planted neither holds a reader up nor fills its memory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.capture.environment.environment import script_hash
from telemetry.capture.steps.continuation import recorded_before
from telemetry.capture.writer.claims import is_free
from telemetry.compare.diff.baseline import read_baseline
from telemetry.configuration import find_configuration
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.flight_ring import ring_name
from telemetry.format.live_findings import read_findings
from telemetry.format.manifest import Manifest, Status, read_manifest, utc_now
from telemetry.format.regular_files import read_beginning, read_regular
from telemetry.format.runs import claim_name
from telemetry.store.runs.catalog import list_runs


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTED: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "endless": endless,
    "folder": Path.mkdir,
}
planted = pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)


@planted
def test_only_regular_files_are_read(plant: Callable[[Path], object], tmp_path: Path) -> None:
    plant(tmp_path / "file")
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read_beginning(tmp_path / "file", n_bytes=10)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", limit_bytes=5) == b"12345"
    assert read_beginning(tmp_path / "file", n_bytes=2) == b"12"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "file", limit_bytes=4)


@planted
def test_a_planted_manifest_is_an_unreadable_run(
    plant: Callable[[Path], object], tmp_path: Path
) -> None:
    run = tmp_path / "project=p" / "run=20260102-030405-aaaaaa"
    run.mkdir(parents=True)
    plant(run / "run.json")
    (found,) = list_runs(tmp_path)
    assert found.status is Status.UNREADABLE
    with pytest.raises(StoreUnreadable, match=r"run\.json"):
        read_manifest(run)


@planted
def test_nobody_waits_for_other_planted_files(
    plant: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    manifest = Manifest(run="r", project="p", name="n", started=now, heartbeat=now)
    for name in (claim_name(1, 0), ring_name(1, 0), "findings.json", "base.json", "script.py"):
        plant(tmp_path / name)
    assert is_free(tmp_path, 0, manifest) in {True, False}  # by the age of the file
    assert recorded_before(tmp_path, {1: 0}, rank=0, attempt=2).step == 0
    with pytest.raises(StoreUnreadable):
        read_findings(tmp_path / "findings.json")
    with pytest.raises(StoreUnreadable):
        read_baseline(tmp_path / "base.json")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "script.py")])
    assert script_hash() == ""


@pytest.mark.parametrize("name", ["pipe", "endless"])
def test_a_planted_settings_file_is_an_error_in_words(name: str, tmp_path: Path) -> None:
    PLANTED[name](tmp_path / "telemetry.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        find_configuration(tmp_path)
