import dataclasses
import json
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import (
    Attempt,
    Manifest,
    Status,
    heartbeat_age_s,
    inferred_status,
    is_alive,
    parse_manifest,
    read_manifest,
    utc_now,
    utc_text,
    write_manifest,
)
from telemetry.json_values import strict
from telemetry.processes import this_process

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TEXT = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
FLAT = st.dictionaries(TEXT, SCALARS, max_size=4)
NUMBERS = st.integers(0, 2**40)

ATTEMPTS = st.builds(
    Attempt,
    attempt=NUMBERS,
    start_step=NUMBERS,
    last_step=NUMBERS,
    started=TEXT,
    ended=st.none() | TEXT,
    host=TEXT,
    boot_id=TEXT,
    pid=NUMBERS,
    process_start=NUMBERS,
    writer=TEXT,
    world_size=st.integers(1, 9),
)
MANIFESTS = st.builds(
    Manifest,
    run=TEXT,
    project=TEXT,
    name=TEXT,
    started=TEXT,
    heartbeat=TEXT,
    status=st.sampled_from([Status.RUNNING, Status.FINISHED, Status.FAILED]),
    ended=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    config=FLAT,
    environment=FLAT,
    total_steps=st.none() | NUMBERS,
    error=st.none() | st.dictionaries(TEXT, SCALARS, min_size=1, max_size=2),
    attempts=st.lists(ATTEMPTS, max_size=2).map(tuple),
    closed=st.booleans(),
    files=FLAT,
    summary=FLAT,
    conflict_of=st.none() | TEXT,
    owner=st.none() | st.just(this_process()),
    extra=st.dictionaries(st.text(string.ascii_uppercase, min_size=1, max_size=5), SCALARS),
)


def manifest(**changes: object) -> Manifest:
    base = Manifest(run="r", project="p", name="n", started=utc_text(NOW), heartbeat=utc_text(NOW))
    return dataclasses.replace(base, **changes)


def attempt(**changes: object) -> Attempt:
    own = this_process()
    base = Attempt(
        attempt=1,
        start_step=0,
        last_step=9,
        started=utc_text(NOW),
        ended=None,
        host=own.host,
        boot_id=own.boot_id,
        pid=own.pid,
        process_start=own.process_start,
        writer="w",
        world_size=1,
    )
    return dataclasses.replace(base, **changes)


@settings(deadline=None, max_examples=60)
@given(MANIFESTS)
def test_any_manifest_reads_back_unknown_keys_included(
    tmp_path_factory: pytest.TempPathFactory, written: Manifest
) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_manifest(folder, written)
    read = read_manifest(folder)
    assert strict(read.to_json()) == strict(written.to_json())
    assert read.attempts == written.attempts


def test_a_manifest_is_sorted_text_for_people(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    text = (tmp_path / "run.json").read_text("utf-8")
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert text.count("\n") > 10


def test_undecodable_bytes_of_a_command_line_survive(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest(name="caf\udce9"))
    assert read_manifest(tmp_path).name == "caf\udce9"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not readable as JSON"),
        (b'{"run": "r"', "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[1]", "contains a list"),
        (b"{}", "format None"),
        (b'{"format": 2}', "upgrade training-telemetry"),
        (b'{"format": 1}', "names no run"),
        (b'{"format": true, "run": "r"}', "upgrade training-telemetry"),
    ],
)
def test_what_is_no_manifest_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(StoreUnreadable, match=reason):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="No such file"):
        read_manifest(tmp_path)


def test_a_huge_manifest_is_not_even_parsed(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as stream:
        stream.truncate(9 * 1024 * 1024)
    with pytest.raises(StoreUnreadable, match="larger than 8388608 bytes"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({"name": 5}, {"name": "r"}),
        ({"status": "sleeping"}, {"status": Status.RUNNING}),
        ({"status": None}, {"status": Status.RUNNING}),
        ({"total_steps": "many"}, {"total_steps": None}),
        ({"total_steps": True}, {"total_steps": None}),
        ({"total_steps": 1e4}, {"total_steps": 10_000}),
        ({"total_steps": "inf"}, {"total_steps": None}),
        ({"total_steps": 10**400}, {"total_steps": None}),
        ({"attempts": {}}, {"attempts": ()}),
        ({"attempts": [{"attempt": "1"}, 3]}, {"attempts": ()}),
        ({"owner": {"host": "h"}}, {"owner": None}),
        ({"ended": 3}, {"ended": None}),
    ],
)
def test_a_value_of_the_wrong_kind_is_not_known(
    change: dict[str, object], known: dict[str, object]
) -> None:
    raw = {**manifest(attempts=(attempt(),)).to_json(), **change}
    read = parse_manifest(raw, where="here")
    assert {name: getattr(read, name) for name in known} == known


def test_details_of_the_wrong_kind_are_left_out() -> None:
    raw = {**manifest().to_json(), "config": [1], "tags": "x", "error": 3, "closed": "yes"}
    read = parse_manifest(raw, where="here")
    assert (read.config, read.tags, read.error, read.closed) == ({}, (), None, False)


def test_times_are_utc_with_microseconds() -> None:
    assert utc_text(NOW) == "2026-01-02T03:04:05.678901Z"
    east = NOW.astimezone(tz=datetime.strptime("+0200", "%z").tzinfo)
    assert utc_text(east) == utc_text(NOW)
    assert utc_now().endswith("Z")


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED])
def test_what_has_ended_stays_ended(status: Status) -> None:
    gone = attempt(process_start=1)
    ended = manifest(status=status, attempts=(gone,), heartbeat="2001-01-01T00:00:00Z")
    assert inferred_status(ended, now=NOW) is status


def test_a_running_run_is_killed_when_its_process_is_gone_however_fresh_its_heartbeat() -> None:
    assert inferred_status(manifest(attempts=(attempt(),)), now=NOW) is Status.RUNNING
    gone = manifest(attempts=(attempt(process_start=1),))
    assert inferred_status(gone, now=NOW) is Status.KILLED


def test_a_living_process_needs_no_heartbeat() -> None:
    long_ago = manifest(attempts=(attempt(),), heartbeat="2001-01-01T00:00:00Z")
    assert inferred_status(long_ago, now=NOW) is Status.RUNNING


@pytest.mark.parametrize(("age_s", "status"), [(149, Status.RUNNING), (151, Status.KILLED)])
def test_elsewhere_five_missed_heartbeats_mean_killed(age_s: int, status: Status) -> None:
    elsewhere = manifest(attempts=(attempt(host="elsewhere"),))
    assert is_alive(elsewhere.attempts[0]) is None
    assert inferred_status(elsewhere, now=NOW + timedelta(seconds=age_s)) is status


def test_before_its_first_step_a_run_lives_by_its_owner() -> None:
    own = this_process()
    former = attempt(process_start=1)
    resumed = manifest(attempts=(former,), owner=own)
    assert inferred_status(resumed, now=NOW) is Status.RUNNING
    killed = manifest(owner=dataclasses.replace(own, process_start=1))
    assert inferred_status(killed, now=NOW) is Status.KILLED


def test_without_any_process_the_heartbeat_decides() -> None:
    assert inferred_status(manifest(), now=NOW) is Status.RUNNING
    assert inferred_status(manifest(), now=NOW + timedelta(hours=1)) is Status.KILLED
    assert inferred_status(manifest(heartbeat="soon"), now=NOW) is Status.KILLED
    assert inferred_status(manifest(heartbeat="2026-01-02"), now=NOW) is Status.KILLED


def test_a_heartbeat_from_the_future_is_replaced_by_the_time_of_the_file() -> None:
    ahead = manifest(heartbeat=utc_text(NOW + timedelta(days=3650)))
    assert heartbeat_age_s(ahead, now=NOW) < 0
    assert heartbeat_age_s(ahead, now=NOW, modified=NOW - timedelta(seconds=7)) == 7
    old = NOW - timedelta(hours=1)
    assert inferred_status(ahead, now=NOW, modified=old) is Status.KILLED
    assert inferred_status(ahead, now=NOW, modified=NOW) is Status.RUNNING


def test_a_heartbeat_a_little_ahead_counts_as_it_is() -> None:
    ahead = manifest(heartbeat=utc_text(NOW + timedelta(seconds=30)))
    assert heartbeat_age_s(ahead, now=NOW, modified=NOW - timedelta(hours=1)) == -30


def test_the_folder_of_a_run_is_only_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    before = (tmp_path / "run.json").read_bytes()
    read_manifest(tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before
    assert list(Path(tmp_path).iterdir()) == [tmp_path / "run.json"]
